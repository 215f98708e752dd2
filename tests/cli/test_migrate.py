"""`punchcard migrate` prepares a database; `punchcard api` and `worker` only look whether it was run."""

from __future__ import annotations

import asyncio

import pytest
from click.testing import CliRunner, Result

from app.cli.main import main
from app.config.settings import Settings
from app.local.servers import free_port
from app.resources import Resources
from app.store.operations.indexes import FORMER_INDEXES
from app.store.operations.migration import require_indexes


async def run(settings: Settings, *arguments: str) -> Result:
    """Run a command against the store of the test. The command has an event loop of its own, so it needs a thread."""
    environment = {**settings.to_env(), "PUNCHCARD_DATABASE": settings.database}
    return await asyncio.to_thread(lambda: CliRunner().invoke(main, [*arguments], env=environment))


@pytest.mark.unused_database
async def test_api_and_worker_start_only_after_a_migration(resources: Resources, settings: Settings) -> None:
    for command in (["api", "--port", str(free_port())], ["worker"]):
        refused = await run(settings, *command)
        assert refused.exit_code == 1
        assert refused.output.startswith(f"Error: The database {settings.database} lacks ")
        assert "Run `punchcard migrate` once and wait until it ends, then start again." in refused.output
    listed = await run(settings, "migrate", "--dry-run")
    assert listed.exit_code == 0
    assert "missing: activities.workspace_1_pos_1" in listed.output
    assert await resources.db.list_collection_names() == []
    migrated = await run(settings, "migrate")
    assert migrated.exit_code == 0, migrated.output
    assert "Building 5 indexes of activities …" in migrated.output
    await require_indexes(resources.db)
    again = await run(settings, "migrate")
    assert again.output == f"The database {settings.database} is ready for this version.\n"


@pytest.mark.unused_database
async def test_conflict_ends_the_migration_before_any_change(resources: Resources, settings: Settings) -> None:
    await resources.db["passes"].create_index([("workspace", 1), ("rev", 1)], unique=True)
    refused = await run(settings, "migrate")
    assert refused.exit_code == 1
    assert "in conflict: passes.workspace_1_rev_1" in refused.output
    assert 'db.passes.dropIndex("workspace_1_rev_1")' in refused.output
    assert await resources.db.list_collection_names() == ["passes"]


@pytest.mark.unused_database
async def test_former_indexes_stay_until_they_are_dropped(
    resources: Resources, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(settings, "migrate")
    monkeypatch.setitem(FORMER_INDEXES, "events", frozenset({"old_1"}))
    await resources.db["events"].create_index("old")
    assert "of earlier versions, not used: events.old_1" in (await run(settings, "migrate")).output
    assert "events.old_1 is hidden." in (await run(settings, "migrate", "--hide")).output
    assert "old_1" in await resources.db["events"].index_information()
    assert "events.old_1 is dropped." in (await run(settings, "migrate", "--drop")).output
    assert "old_1" not in await resources.db["events"].index_information()


async def test_commands_of_an_excluded_version_are_refused(resources: Resources, settings: Settings) -> None:
    excluded = {"_id": "schema", "version": 99, "lowest_writer": 99}
    await resources.db["constants"].replace_one({"_id": "schema"}, excluded, upsert=True)
    for command in (["api", "--port", str(free_port())], ["worker"], ["migrate"], ["restored"]):
        refused = await run(settings, *command)
        assert refused.exit_code == 1
        assert "needs a newer version of Punchcard" in refused.output
