"""Looks for the seal stage: at noted workspaces, at workspaces with dirty heads, and at contents that no head names."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from app.clock import FixedClock
from app.domain.rollups.levels import Level
from app.domain.rollups.marks import HeadKey
from app.domain.rollups.sealing import AT_ONCE
from app.domain.values.instants import to_ms
from app.resources import Resources
from app.store.stages.rollups import SealQueries
from app.store.workspace.rollup_heads import mark_heads
from tests.business import Business, create_business, open_business
from workers import rollup_looks
from workers.main import GUARDED
from workers.rollup_looks import DIRTY_INTERVAL_SECONDS, RollupLooks
from workers.seals import RETRY_SECONDS

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Seconds:
    """Clock of the looks that the test sets."""

    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
async def business(resources: Resources) -> Business:
    clock = FixedClock(NOW)
    return await open_business(replace(resources, clock=clock), clock)


@pytest.fixture
def seconds(business: Business, monkeypatch: pytest.MonkeyPatch) -> Seconds:
    seconds = Seconds()
    monkeypatch.setattr(rollup_looks, "time", seconds)
    business.worker.seals.now_seconds = seconds.monotonic
    return seconds


async def count_dirty(business: Business) -> int:
    where = {"workspace": business.ctx.workspace.id, "dirty": {"$gte": 0}}
    return int(await business.ctx.resources.db["rollup_heads"].count_documents(where))


async def test_hour_that_the_fold_has_marked_is_sealed_without_another_note(
    business: Business, seconds: Seconds
) -> None:
    looks = RollupLooks(business.worker, GUARDED)
    await looks.look()
    await business.record({"amount": 1, "occurred_at": "2026-05-01T10:30:00Z"})
    await business.run_worker()
    for _ in range(2):
        assert await count_dirty(business) == 1
        seconds.now += business.worker.seals.timing.quiet
        await looks.look()
    assert await count_dirty(business) == 0


async def test_hour_that_has_not_ended_is_looked_at_again_at_its_end(business: Business, seconds: Seconds) -> None:
    looks, quiet = RollupLooks(business.worker, GUARDED), business.worker.seals.timing.quiet
    await business.record({"amount": 1, "occurred_at": NOW.isoformat()})
    await business.run_worker()
    seconds.now += quiet
    await looks.look()
    await business.record({"amount": 2, "occurred_at": NOW.isoformat()})
    await business.run_worker()
    for _ in range(2):
        business.clock.set(NOW.replace(hour=13))
        seconds.now += 3_600
        await looks.look()
    assert await count_dirty(business) == 0


async def test_workspaces_whose_note_was_lost_are_found_by_their_dirty_heads(
    business: Business, seconds: Seconds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look finds a few of them, and the next one goes on behind them."""
    monkeypatch.setattr(rollup_looks, "MAX_DIRTY_FOUND", 1)
    other = await create_business(business.ctx.resources, business.clock, "Other")
    business.worker.seals.timing = AT_ONCE
    for each in (business, other):
        key = HeadKey(each.ctx.workspace.id, Level.HOUR, to_ms(NOW.replace(hour=9)))
        await mark_heads(each.ctx.resources.db, [key], 100)
    looks, left = RollupLooks(business.worker, GUARDED), []
    for _ in range(2):
        await looks.look()
        await looks.look()
        left.append([await count_dirty(each) for each in (business, other)])
        seconds.now += DIRTY_INTERVAL_SECONDS
    assert sorted(left[0]) == [0, 1]
    assert left[1] == [0, 0]


async def test_workspaces_with_more_dirty_heads_than_a_look_reads_are_not_looked_for(
    business: Business, seconds: Seconds, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [await create_business(business.ctx.resources, business.clock, name) for name in ("A", "B")]
    ids = sorted(each.ctx.workspace.id for each in (business, *others))
    for each in ids:
        await mark_heads(business.ctx.resources.db, [HeadKey(each, Level.HOUR, to_ms(NOW))], 100)
    find, seals = business.worker.seal_queries.waiting_workspaces, business.worker.seals
    assert await find("", 3) == ids
    seals.begin_look(ids[1]).near_ms = 5
    known = seals.large_workspaces()
    assert known == [ids[1]]
    assert await find("", 3, known) == [ids[0], ids[2]]
    assert await find(ids[0], 3, known) == [ids[2]]
    seconds.now += RETRY_SECONDS
    assert seals.large_workspaces() == []


async def test_contents_that_no_head_names_are_looked_for_once_a_minute(
    business: Business, seconds: Seconds, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    async def drop_contents(self: SealQueries, now_ms: int, limit: int) -> bool:
        asked.append(limit)
        return len(asked) == 1

    monkeypatch.setattr(SealQueries, "drop_contents", drop_contents)
    looks = RollupLooks(business.worker, GUARDED)
    for _ in range(2):
        await looks.drop_contents()
    assert len(asked) == 2
    seconds.now += rollup_looks.DROP_INTERVAL_SECONDS
    await looks.drop_contents()
    assert len(asked) == 3
