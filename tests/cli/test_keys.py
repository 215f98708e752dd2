"""`punchcard key` and `punchcard workspace list`: keys and workspaces without an API key."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.auth import Keyring
from app.cli.main import main
from app.commands.workspaces.workspaces import create_workspace
from app.config.settings import Settings
from app.domain.errors import Unauthenticated
from app.local.key_file import KeyFile, KeyOrigin
from app.resources import Resources
from app.store.mongo.paging import PageRequest


async def run(settings: Settings, *arguments: str) -> Result:
    """Run a command against the store of the test. The command has an event loop of its own, so it needs a thread."""
    environment = {**settings.to_env(), "PUNCHCARD_DATABASE": settings.database}
    return await asyncio.to_thread(lambda: CliRunner().invoke(main, [*arguments], env=environment))


async def test_key_is_created_listed_and_revoked_without_a_key(resources: Resources, settings: Settings) -> None:
    await create_workspace(resources, "Shop")
    created = await run(settings, "key", "create", "--name", "till", "--scopes", "read, write")
    secret = created.output.strip()
    assert (created.exit_code, secret[:6]) == (0, "punch_")
    actor = await Keyring(resources).actor(f"Bearer {secret}")
    assert actor.scopes == {"read", "write"}
    listed = (await run(settings, "key", "list")).output.splitlines()
    [line] = [line for line in listed if actor.key_id in line]
    assert "valid" in line
    assert "read,write  till" in line
    assert secret not in line
    assert len(listed) == 2
    assert (await run(settings, "key", "revoke", actor.key_id)).output == f"{actor.key_id} is revoked.\n"
    with pytest.raises(Unauthenticated):
        await Keyring(resources).actor(f"Bearer {secret}")
    assert "revoked" in (await run(settings, "key", "list")).output
    audit = await resources.workspace(actor.workspace_id).audit.page(PageRequest(9))
    assert [entry.action for entry in audit.items] == ["revokeApiKey", "createApiKey"]


async def test_key_is_saved_only_in_a_folder_without_a_key(resources: Resources, settings: Settings) -> None:
    await create_workspace(resources, "Shop")
    file = KeyFile(settings.data_dir)
    created = await run(settings, "key", "create", "--save")
    assert file.read() == created.output.strip()
    assert file.read_origin() == KeyOrigin((settings.mongodb_uri or "").split("/")[2], settings.database)
    again = await run(settings, "key", "create", "--save")
    assert again.exit_code == 1
    assert "never replaced" in again.output
    assert len((await run(settings, "key", "list")).output.splitlines()) == 2


async def test_workspace_is_chosen_by_its_id_if_there_are_several(resources: Resources, settings: Settings) -> None:
    assert "no workspace" in (await run(settings, "key", "list")).output
    shop, _ = await create_workspace(resources, "Shop", currency="EUR", timezone="Europe/Berlin")
    cafe, _ = await create_workspace(resources, "Café")
    refused = await run(settings, "key", "create")
    assert refused.exit_code == 1
    assert f"{shop.id}  Shop" in refused.output
    assert (await run(settings, "key", "create", "--workspace", cafe.id)).exit_code == 0
    wrong = await run(settings, "key", "create", "--workspace", "ws_none")
    assert wrong.exit_code == 1
    assert wrong.output.startswith("Error: There is no workspace ws_none. Name one of these workspaces")
    lines = (await run(settings, "workspace", "list")).output.splitlines()
    assert sorted(line.split()[0] for line in lines) == sorted([shop.id, cafe.id])
    assert any("EUR  Europe/Berlin  Shop" in line for line in lines)


async def test_wrong_scope_or_key_is_refused_with_a_sentence(
    resources: Resources, settings: Settings, tmp_path: Path
) -> None:
    await create_workspace(resources, "Shop")
    for arguments, message in (
        (["create", "--scopes", "owner"], "Give one of read, write"),
        (["revoke", "key_none"], "API key"),
    ):
        refused = await run(settings, "key", *arguments)
        assert refused.exit_code == 1
        assert message in refused.output
        assert "Traceback" not in refused.output
