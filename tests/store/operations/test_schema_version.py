"""Schema version: a process that a newer version of Punchcard excludes neither starts nor goes on to write."""

from __future__ import annotations

import asyncio

import pytest

from app.resources import Resources
from app.store.operations import schema_version
from app.store.operations.schema_version import SCHEMA_VERSION, SchemaTooNew, raise_schema, require_writable
from tests.business import Business
from tests.graphql.serving import run_api
from tests.patience import PATIENCE_SECONDS
from workers.main import run as run_worker


async def store(resources: Resources, version: int, lowest_writer: int) -> None:
    """Store the numbers that a newer version of Punchcard would store."""
    change = {"$set": {"version": version, "lowest_writer": lowest_writer}}
    await resources.db["constants"].update_one({"_id": "schema"}, change, upsert=True)


async def test_database_without_a_number_is_written_and_raised(resources: Resources) -> None:
    await require_writable(resources.db)
    for _ in range(2):
        await raise_schema(resources.db)
    stored = await resources.db["constants"].find_one({"_id": "schema"})
    assert stored == {"_id": "schema", "version": SCHEMA_VERSION, "lowest_writer": schema_version.LOWEST_WRITER}


async def test_older_code_writes_beside_newer_code_until_it_is_excluded(resources: Resources) -> None:
    await store(resources, SCHEMA_VERSION + 1, SCHEMA_VERSION)
    await require_writable(resources.db)
    await raise_schema(resources.db)
    stored = await resources.db["constants"].find_one({"_id": "schema"})
    assert stored is not None
    assert stored["version"] == SCHEMA_VERSION + 1, "numbers never fall"
    await store(resources, SCHEMA_VERSION + 1, SCHEMA_VERSION + 1)
    for call in (require_writable, raise_schema):
        with pytest.raises(SchemaTooNew, match=f"must have schema version {SCHEMA_VERSION + 1}, this one has"):
            await call(resources.db)


async def test_running_worker_stops_at_a_heartbeat_when_it_is_excluded(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.sweep.HEARTBEAT_INTERVAL_SECONDS", 0.01)
    resources, stopping = business.ctx.resources, asyncio.Event()
    worker = asyncio.create_task(run_worker(resources.settings, stopping))
    heartbeats = resources.db["heartbeats"]
    while not await heartbeats.count_documents({}) and not worker.done():
        await asyncio.sleep(0.01)
    await store(resources, SCHEMA_VERSION + 1, SCHEMA_VERSION + 1)
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(SchemaTooNew):
            await worker
    assert stopping.is_set()
    assert await heartbeats.count_documents({}) == 0, "it has stopped in order"
    with pytest.raises(SchemaTooNew):
        await run_worker(resources.settings, asyncio.Event())


async def test_api_is_not_ready_when_it_is_excluded(business: Business) -> None:
    async with run_api(business) as api:
        await store(business.ctx.resources, SCHEMA_VERSION + 1, SCHEMA_VERSION + 1)
        answer = await api.http.get(api.url.replace("/graphql", "/readyz"))
    assert answer.status_code == 503
    assert answer.json()["checks"]["schema"]["problem"] == "the database needs a newer version of Punchcard"
