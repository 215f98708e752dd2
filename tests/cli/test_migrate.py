"""`punchcard migrate` prepares a database; `punchcard api` and `worker` only look whether it was run."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner, Result
from pymongo import MongoClient

from app.cli.main import main
from app.config.settings import Settings
from app.local.servers import free_port
from app.resources import Resources, open_resources
from app.store.operations.indexes import FORMER_INDEXES
from app.store.operations.migration import require_indexes
from app.store.operations.schema_version import SCHEMA_VERSION
from app.store.operations.sharding import SHARD_KEYS
from tests.wire.mongos import Router, refuse_unique_indexes
from tests.wire.proxy import wire_proxy


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
    assert f"The schema version would rise from 1 to {SCHEMA_VERSION}." in listed.output
    assert await resources.db.list_collection_names() == []
    migrated = await run(settings, "migrate")
    assert migrated.exit_code == 0, migrated.output
    assert "Building 5 indexes of activities …" in migrated.output
    await require_indexes(resources.db)
    for again in (["migrate"], ["migrate", "--dry-run"]):
        ready = await run(settings, *again)
        assert ready.output == f"The database {settings.database} is ready for this version.\n"


@pytest.mark.unused_database
async def test_conflict_ends_the_migration_before_any_change(resources: Resources, settings: Settings) -> None:
    await resources.db["passes"].create_index([("workspace", 1), ("slot", 1), ("rev", 1)], unique=True)
    refused = await run(settings, "migrate")
    assert refused.exit_code == 1
    assert "in conflict: passes.workspace_1_slot_1_rev_1" in refused.output
    assert 'db.passes.dropIndex("workspace_1_slot_1_rev_1")' in refused.output
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


@asynccontextmanager
async def sharded(settings: Settings, router: Router) -> AsyncIterator[Settings]:
    """Put a router before the store of the test, and yield the settings that lead to it."""
    upstream = urlsplit(settings.mongodb_uri or "").port
    assert upstream is not None
    async with wire_proxy(upstream, [*router.rules(), refuse_unique_indexes]) as port:
        yield dataclasses.replace(settings, mongodb_uri=f"mongodb://127.0.0.1:{port}/?directConnection=true")


@pytest.mark.unused_database
@pytest.mark.embedded_only("the proxy stands before a store on this machine")
async def test_shard_divides_the_large_collections_and_tells_when_mongodb_has_finished(
    resources: Resources, settings: Settings
) -> None:
    router = Router()
    async with sharded(settings, router) as behind:
        listed = await run(behind, "migrate", "--shard", "--dry-run")
        assert "to be divided: events by {workspace: 1, _id: hashed}" in listed.output
        assert router.keys == {}
        divided = await run(behind, "migrate", "--shard")
        assert divided.exit_code == 0, divided.output
        assert router.keys == SHARD_KEYS
        assert router.indexes == [(collection, list(key)) for collection, key in SHARD_KEYS.items()]
        assert "activities: the documents are still being moved to other shards." in divided.output
        router.is_balanced = True
        again = await run(behind, "migrate", "--shard")
        assert "events: the documents are spread evenly." in again.output
        async with open_resources(behind) as found:
            assert (found.is_sharded, found.is_embedded) == (True, True)
        router.keys["passes"] = {"_id": "hashed"}
        refused = await run(behind, "migrate", "--shard")
        assert (refused.exit_code, "`sh.reshardCollection` in mongosh" in refused.output) == (1, True)


@pytest.mark.unused_database
@pytest.mark.embedded_only("the proxy stands before a store on this machine")
async def test_shard_says_what_to_do_before(resources: Resources, settings: Settings) -> None:
    refused = await run(settings, "migrate", "--shard")
    assert refused.exit_code == 1
    assert "MONGODB_URI leads to no mongos" in refused.output
    await resources.db["passes"].create_index(["workspace", "external_id"], unique=True)
    async with sharded(settings, Router()) as behind:
        refused = await run(behind, "migrate", "--shard")
        assert (refused.exit_code, "run `punchcard migrate --drop`" in refused.output) == (1, True)
        assert (await run(behind, "migrate", "--drop")).exit_code == 0
        assert (await run(behind, "migrate", "--shard")).exit_code == 0


@pytest.mark.unused_database
async def test_names_names_all_passes_again(resources: Resources, settings: Settings) -> None:
    await run(settings, "migrate")
    await resources.db["passes"].insert_one({"_id": "pass_1", "workspace": "ws", "external_id": "ann"})
    await run(settings, "migrate")
    assert await resources.db["pass_names"].count_documents({}) == 0
    named = await run(settings, "migrate", "--names")
    assert (named.exit_code, await resources.db["pass_names"].count_documents({})) == (0, 1)


async def test_pass_of_an_earlier_version_that_still_runs_gets_a_name(
    resources: Resources, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of an earlier version reads within seconds that it may not write. Until then, it creates passes."""
    await run(settings, "migrate")
    await resources.db["constants"].delete_many({"_id": {"$in": ["schema", "pass_names"]}})
    await resources.db["passes"].insert_one({"_id": "pass_2", "workspace": "ws", "external_id": "bob"})
    may_write: list[bool] = []

    async def create_before_the_first() -> None:
        client: MongoClient[dict[str, Any]]
        with MongoClient(settings.mongodb_uri) as client:
            database: Any = client[settings.database]
            may_write.append(database["constants"].find_one({"_id": "schema"})["lowest_writer"] < SCHEMA_VERSION)
            database["passes"].insert_one({"_id": "pass_1", "workspace": "ws", "external_id": "ann"})

    monkeypatch.setattr("app.cli.migrate.wait_for_earlier_versions", create_before_the_first)
    migrated = await run(settings, "migrate")
    assert migrated.exit_code == 0, migrated.output
    assert may_write == [False]
    named = await resources.db["pass_names"].distinct("pass")
    assert sorted(named) == ["pass_1", "pass_2"]
    await run(settings, "migrate", "--names")
    assert may_write == [False], "all passes have names, so no process of an earlier version may run"
