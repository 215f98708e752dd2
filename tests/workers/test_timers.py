"""Timers for due instants: a worker never piles up runs, however many passes are due and however the clock stands."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from app.clock import FixedClock
from app.domain.ids import slot_of
from app.domain.values.instants import to_ms
from app.flow import SLOT_RANGES
from app.resources import Resources
from app.store.operations.indexes import INDEXES
from tests.business import Business
from workers.main import STAGES
from workers.stages.due import due
from workers.sweep import Sweep
from workers.timers import DueTimers
from workers.worker import Worker

START = datetime(2026, 1, 1, tzinfo=UTC)
ONE_MS = timedelta(milliseconds=1)


async def store_due_passes(business: Business, count: int, due_at: datetime) -> None:
    """Store copies of a pass that are due at an instant."""
    await business.create_passes("first")
    passes = business.ctx.resources.db["passes"]
    first = await passes.find_one({"external_id": "first"})
    assert first is not None
    ids = [f"{first['_id']}{n}" for n in range(count)]
    fields = [{"_id": each, "external_id": each, "slot": slot_of(each), "due": to_ms(due_at)} for each in ids]
    for start in range(0, count, 1_000):
        await passes.insert_many([first | each for each in fields[start : start + 1_000]], ordered=False)


class CountedRuns:
    """The stage due, with the number of its runs for each slot range. A run waits until `can_run` is set."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.can_run = asyncio.Event()
        self.can_run.set()
        self.has_started = asyncio.Event()

    async def run(self, worker: Worker, key: str) -> None:
        """Count the run, and run the stage."""
        self.counts[key] += 1
        self.has_started.set()
        await self.can_run.wait()
        await due(worker, key)

    async def wait_for(self, runs: int) -> None:
        """Return when so many runs have started."""
        while self.counts.total() < runs:
            self.has_started.clear()
            await self.has_started.wait()


async def run_out(timers: DueTimers) -> None:
    """Let all timers run out and their runs end."""
    while timers.count:
        await asyncio.sleep(0.01)


async def test_clock_that_stands_before_300_due_passes_starts_one_run_for_each_range(business: Business) -> None:
    await store_due_passes(business, 300, START + ONE_MS)
    business.clock.set(START)
    runs = CountedRuns()
    timers = DueTimers(business.worker, runs.run)
    await timers.look()
    assert timers.count == len(SLOT_RANGES)
    await run_out(timers)
    # The runs found that the clock stands, so they set no new timers: the next sweep looks again.
    assert runs.counts == dict.fromkeys(SLOT_RANGES, 1)
    business.clock.set(START + ONE_MS)
    await Sweep(business.worker, STAGES).advance_due()
    assert await business.ctx.resources.db["passes"].count_documents({"due": {"$gte": 0}}) == 0


async def test_timer_whose_instant_has_come_looks_for_the_next_instant(business: Business) -> None:
    await store_due_passes(business, 1, START + ONE_MS)
    business.clock.set(START)
    runs = CountedRuns()
    timers = DueTimers(business.worker, runs.run)
    await timers.look()
    business.clock.set(START + ONE_MS)
    await business.ctx.resources.db["passes"].update_many({"external_id": "first"}, {"$set": {"due": to_ms(START) + 9}})
    await runs.wait_for(2)
    await run_out(timers)
    assert runs.counts.total() == 2


async def test_range_gets_no_timer_while_its_due_passes_are_advanced(business: Business) -> None:
    await store_due_passes(business, 100, START + ONE_MS)
    business.clock.set(START)
    runs = CountedRuns()
    timers = DueTimers(business.worker, runs.run)
    await timers.look()
    runs.can_run.clear()
    await runs.wait_for(len(SLOT_RANGES))
    for _ in range(20):
        await timers.look()
    assert timers.count == len(SLOT_RANGES)
    runs.can_run.set()
    await run_out(timers)
    assert runs.counts == dict.fromkeys(SLOT_RANGES, 1)


async def test_looks_that_are_asked_for_at_once_are_two(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    async def count_look(_worker: Worker, now_ms: int, _within_ms: int) -> list[tuple[str, int]]:
        looks.append(now_ms)
        await asyncio.sleep(0)
        return []

    monkeypatch.setattr("workers.timers.next_due_ms", count_look)
    timers = DueTimers(business.worker, due)
    await asyncio.gather(*(timers.look() for _ in range(1_000)))
    assert len(looks) == 2


@pytest.mark.unused_database
async def test_year_that_passes_before_20000_due_passes_starts_one_run_a_sweep_and_timer(
    resources: Resources, clock: FixedClock
) -> None:
    """The clock moves by a year, to 1 ms before the instant at which all passes are due, and stands there."""
    db = resources.db
    await db["passes"].create_indexes([index for index in INDEXES["passes"] if "due" in index.document["key"]])
    year = START + timedelta(days=365)
    due_ms = to_ms(year + ONE_MS)
    docs = [{"_id": f"pass{n}", "workspace": "ws", "due": due_ms, "slot": slot_of(f"pass{n}")} for n in range(20_000)]
    for start in range(0, len(docs), 1_000):
        await db["passes"].insert_many(docs[start : start + 1_000], ordered=False)
    runs = CountedRuns()
    sweep = Sweep(Worker.on(resources), {**STAGES, "due": runs.run})
    clock.set(year)
    idle_tasks, sweeps, most_tasks = len(asyncio.all_tasks()), 3, 0
    for number in range(sweeps):
        await sweep.advance_due()
        most_tasks = max(most_tasks, len(asyncio.all_tasks()))
        await runs.wait_for((len(SLOT_RANGES) + 1) * (number + 1))
        await run_out(sweep.due_timers)
    # Each sweep runs the stage for each range, and the passes that its look read first belong to one range.
    assert runs.counts == dict.fromkeys(SLOT_RANGES, sweeps) | {SLOT_RANGES[0]: 2 * sweeps}
    assert most_tasks <= idle_tasks + len(SLOT_RANGES)
