"""Commands refuse a database that is the wrong one, or that a newer version has migrated."""

from __future__ import annotations

import pytest

from app.config.settings import Settings
from app.local.servers import free_port
from app.resources import Resources
from tests.cli.test_keys import run


@pytest.mark.parametrize(
    "command",
    [
        ["check"],
        ["restored"],
        ["parked"],
        ["truncate", "--older-than", "9"],
        ["truncate", "--workspace", "ws_1", "--up-to", "1"],
        ["key", "list"],
        ["workspace", "list"],
    ],
)
async def test_database_without_workspaces_is_refused_as_the_wrong_one(
    resources: Resources, settings: Settings, command: list[str]
) -> None:
    """A misspelt PUNCHCARD_DATABASE names an empty database. Success there would look like success on the real one."""
    refused = await run(settings, *command)
    assert refused.exit_code == 1
    assert refused.output == (
        f"Error: The database {settings.database} has no workspace. Check MONGODB_URI and PUNCHCARD_DATABASE. For a new"
        " database, create a workspace with `punchcard workspace create`.\n"
    )
    assert await resources.db["constants"].find_one({"_id": "epoch"}) is None


async def test_commands_of_an_excluded_version_are_refused(resources: Resources, settings: Settings) -> None:
    excluded = {"_id": "schema", "version": 99, "lowest_writer": 99}
    await resources.db["constants"].replace_one({"_id": "schema"}, excluded, upsert=True)
    for command in (
        ["api", "--port", str(free_port())],
        ["worker"],
        ["migrate"],
        ["migrate", "--dry-run"],
        ["restored"],
        ["truncate", "--older-than", "9"],
        ["parked", "--rerun"],
        ["key", "create"],
        ["key", "revoke", "key_1"],
        ["workspace", "create", "Shop"],
        ["clock", "set", "1998-07-01"],
    ):
        refused = await run(settings, *command)
        assert refused.exit_code == 1
        assert "needs a newer version of Punchcard" in refused.output
