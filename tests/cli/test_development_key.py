"""The key of `punchcard up`: created once in an empty database, never replaced, and refused where it does not exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.auth import Keyring
from app.cli.development_key import describe_key
from app.clock import SystemClock
from app.commands.workspaces.workspaces import create_workspace
from app.config.settings import ConfigError
from app.domain.actors import secret_hash
from app.local.key_file import KeyFile, KeyOrigin
from app.resources import Resources
from app.store.mongo.paging import PageRequest
from app.store.workspace.keys import find_key_by_hash
from app.store.workspace.workspaces import list_profiles

ORIGIN = KeyOrigin("secantusd-py", "punchcard")
OTHER = KeyOrigin("secantusd-py", "other")


async def test_first_start_creates_a_workspace_and_shows_its_key_once(resources: Resources, tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    first = await describe_key(resources, file, ORIGIN)
    key = file.read()
    assert key is not None
    assert key in first
    assert (await Keyring(resources).actor(f"Bearer {key}")).has_scope("admin")
    second = await describe_key(resources, file, ORIGIN)
    assert key not in second
    assert str(file.path) in second
    [profile] = await list_profiles(resources.db)
    assert profile.name == "Development"
    [entry] = (await resources.workspace(profile.id).audit.page(PageRequest(9))).items
    assert (entry.action, entry.key_id) == ("createWorkspace", "punchcard-up-command")


async def test_key_of_another_database_is_kept_and_the_start_refused(resources: Resources, tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    file.write("punch_elsewhere", OTHER)
    with pytest.raises(ConfigError, match=r"was made for the database other of secantusd-py\. Use that database again"):
        await describe_key(resources, file, ORIGIN)
    assert (file.read(), file.read_origin()) == ("punch_elsewhere", OTHER)
    assert await list_profiles(resources.db) == []


async def test_unknown_key_without_an_origin_is_refused_too(resources: Resources, tmp_path: Path) -> None:
    """Older versions of Punchcard did not store the origin of a key."""
    file = KeyFile(tmp_path)
    file.path.write_text("punch_elsewhere\n")
    with pytest.raises(
        ConfigError, match=r"does not exist in the database punchcard of secantusd-py\. .* rename the file"
    ):
        await describe_key(resources, file, ORIGIN)
    assert file.read() == "punch_elsewhere"


async def test_key_of_an_older_version_gets_its_origin(resources: Resources, tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    _, secret = await create_workspace(resources, "Shop")
    file.path.write_text(f"{secret}\n")
    assert secret not in await describe_key(resources, file, ORIGIN)
    assert file.read_origin() == ORIGIN


async def test_revoked_key_is_kept_and_named(resources: Resources, tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    await describe_key(resources, file, ORIGIN)
    secret = file.read() or ""
    key = await find_key_by_hash(resources.db, secret_hash(secret))
    assert key is not None
    await resources.workspace(key.workspace_id).keys.revoke(key.id, await SystemClock().now())
    assert "revoked or expired; `punchcard key create`" in await describe_key(resources, file, ORIGIN)
    assert file.read() == secret
    assert len(await list_profiles(resources.db)) == 1


async def test_start_without_a_key_creates_no_second_workspace(resources: Resources, tmp_path: Path) -> None:
    await create_workspace(resources, "Shop")
    file = KeyFile(tmp_path)
    assert "`punchcard key create --save`" in await describe_key(resources, file, ORIGIN)
    assert file.read() is None
    assert [profile.name for profile in await list_profiles(resources.db)] == ["Shop"]
