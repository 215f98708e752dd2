"""Each command of an operator that changes a workspace writes an audit entry, which names the command."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from app.cli import truncate
from app.cli.main import main
from app.config.settings import Settings
from app.domain.actors import is_operator
from app.store.mongo.paging import PageRequest
from app.store.workspace.workspaces import list_profiles
from tests.business import Business
from tests.cli.test_keys import run
from tests.parking import park_transfer

AUDITED = {
    "key create": ("createApiKey", "key"),
    "key revoke": ("revokeApiKey", "key"),
    "clock set": ("clock", "clock"),
    "parked": ("retryParkedEffects", "parked"),
    "truncate": ("truncate", "truncate"),
    "restored": ("restored", "restored"),
    "rollups": ("rollups", "rollups"),
    "workspace create": ("createWorkspace", "workspace"),
}
"""The action of the entry and the operator, by command."""
UNAUDITED = {
    "api": "serves the API, whose mutations write entries",
    "worker": "does what recorded events and settings say",
    "up": "creates the first workspace; tests/cli/test_development_key.py",
    "migrate": "builds indexes and changes no workspace",
    "import": "calls the API with a key",
    "export": "calls the API with a key",
    "demo": "calls the API with a key",
    "check": "reads",
    "report": "calls the API with a key",
    "verify": "calls the API with a key",
    "schema": "reads nothing of the database",
    "clock show": "reads",
    "key list": "reads",
    "workspace list": "reads",
}


def leaves(group: click.Group, *path: str) -> Iterator[str]:
    """Yield the names of all commands that are no groups."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, *path, name)
        else:
            yield " ".join((*path, name))


def test_tables_above_name_each_command() -> None:
    assert sorted([*AUDITED, *UNAUDITED]) == sorted(leaves(main))


async def test_commands_that_change_workspaces_are_entered_in_the_audit_log(
    business: Business, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(truncate, "READERS_WAIT_SECONDS", 0)
    workspace_id = business.ctx.workspace.id
    await park_transfer(business)
    [key] = (await business.ctx.workspace.keys.page(PageRequest(9))).items
    arguments = {
        "key revoke": [key.id],
        "clock set": ["2040-01-01"],
        "parked": ["--rerun"],
        "rollups": ["--rebuild"],
        "truncate": ["--workspace", workspace_id, "--up-to", "1", "--yes"],
        "workspace create": ["Second"],
    }
    for command in AUDITED:
        done = await run(settings, *command.split(), *arguments.get(command, ()))
        assert done.exit_code == 0, done.output
    entries = (await business.ctx.workspace.audit.page(PageRequest(50))).items
    [created] = [each for each in await list_profiles(business.ctx.resources.db) if each.id != workspace_id]
    entries = [*entries, *(await business.ctx.resources.workspace(created.id).audit.page(PageRequest(9))).items]
    found = {(each.action, each.key_id) for each in entries if is_operator(each.key_id)}
    assert found == {(action, f"punchcard-{name}-command") for action, name in AUDITED.values()}
    [restored] = [each for each in entries if each.action == "restored"]
    epoch = await business.ctx.resources.db["constants"].find_one({"_id": "epoch"})
    assert epoch is not None
    assert dict(restored.details) == {"epoch": epoch["value"]}
