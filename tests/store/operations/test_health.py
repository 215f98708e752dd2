"""Health of the store, missing indexes, heartbeats of workers, and the backlog."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from app.clock import FixedClock
from app.domain.values.instants import to_ms
from app.resources import Resources
from app.store.operations import backlog, indexes
from app.store.operations.backlog import BacklogQueries
from app.store.operations.health import check_write_and_read, missing_indexes
from app.store.operations.heartbeats import Heartbeats
from tests.business import Business, no_purchase_for

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.unused_database
async def test_dropped_index_is_reported_by_name(resources: Resources) -> None:
    assert "events.pend_1_workspace_1_pass_1_occurred_at_1__id_1" in await missing_indexes(resources.db)
    await indexes.ensure_indexes(resources.db)
    assert await missing_indexes(resources.db) == []
    await resources.db["activities"].drop_index("workspace_1_pos_1")
    assert await missing_indexes(resources.db) == ["activities.workspace_1_pos_1"]


@pytest.mark.unused_database
async def test_processes_that_start_at_one_moment_on_a_new_database_all_create_indexes(resources: Resources) -> None:
    await asyncio.gather(*(indexes.ensure_indexes(resources.db) for _ in range(8)))
    assert await missing_indexes(resources.db) == []
    assert await resources.db["constants"].find({"_id": "slots"}).to_list(None) == [{"_id": "slots", "value": 64}]


async def test_store_is_checked_by_a_write_and_a_read(resources: Resources) -> None:
    assert await check_write_and_read(resources.db)
    assert await check_write_and_read(resources.db)


async def test_worker_is_alive_until_its_heartbeat_expires_or_it_stops(resources: Resources) -> None:
    heartbeats = Heartbeats(resources.db)
    for worker_id in ("w1", "w2"):
        await heartbeats.beat(worker_id, NOW, NOW + timedelta(seconds=20))
    assert await heartbeats.count_alive(NOW) == 2
    await heartbeats.remove("w1")
    assert await heartbeats.count_alive(NOW + timedelta(seconds=19)) == 1
    assert await heartbeats.count_alive(NOW + timedelta(seconds=20)) == 0


async def test_backlog_counts_the_work_of_each_stage_and_is_empty_when_done(
    business: Business, clock: FixedClock
) -> None:
    queries = BacklogQueries(business.ctx.resources.db)

    async def measure() -> tuple[int, datetime | None, int, int]:
        found = await queries.measure(to_ms(await clock.elapsed()))
        return found.pending, found.oldest_at, found.due, found.unpublished

    await business.record(*({"external_id": str(n), "amount": 1} for n in range(7)))
    recorded_at = await clock.now()
    before = await measure()
    assert before[:2] == (7, recorded_at)
    await business.create_segment("lost", no_purchase_for(1))
    assert await measure() == (0, None, 0, 0)
    clock.set(recorded_at + timedelta(days=2))
    assert await measure() == (0, None, 1, 0)
    await business.run_worker()
    assert await measure() == (0, None, 0, 0)


async def test_counting_of_the_backlog_stops_above_a_limit(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "MAX_COUNTED", 1_000)
    docs = [{"_id": f"e{n}", "pend": n % 64, "pass": "p", "occurred_at": NOW, "recorded_at": NOW} for n in range(1_600)]
    await business.ctx.resources.db["events"].insert_many(docs)
    assert 1_000 <= (await BacklogQueries(business.ctx.resources.db).measure(0)).pending < len(docs)
