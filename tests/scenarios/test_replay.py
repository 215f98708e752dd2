"""The sample file, replayed day by day, with segments, points and a tier.

Every transition and every change of a tier is in the feed once, at its exact instant. Every balance is that of an
oracle. This holds although workers are stopped or crash.

The purchases of a day occur at midnight. The test records them while the clock stands one minute earlier, then sets the
clock to midnight. A purchase recorded at midnight itself could be late, because the pass may be evaluated up to then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby, pairwise
from random import Random
from unittest.mock import patch

import pytest

from app.domain.activities import ENTERED, TIER_TYPES, TRANSITIONS, UNLESS_NAMED, Activity
from app.domain.ids import SLOTS
from app.domain.segments.segments import Segment
from app.domain.segments.sizes import DayCounts
from app.domain.values.instants import from_ms, to_ms
from app.store.mongo.paging import PageRequest
from app.store.workspace.activities import ActivityQueries
from tests import oracle
from tests import sample as test_sample
from tests.business import Business, bought_within, no_purchase_for, spent
from tests.crashes import Crash, CrashInjector
from tests.sample import Purchase
from tests.scenarios.tiers_of_sample import compare_tiers_with_oracle, define_points_and_tiers
from workers.stages.due import due_once
from workers.stages.fold import fold_once
from workers.stages.publish import publish_once
from workers.worker import Worker

pytestmark = pytest.mark.timeout(3_600 if test_sample.ALL_CUSTOMERS else 900)

BEFORE = timedelta(minutes=1)
END = datetime(2001, 3, 1, tzinfo=UTC)
"""After the end of each tier."""
SEGMENTS = {
    "recent": (bought_within(30), oracle.bought_within(30), [30]),
    "away": (no_purchase_for(60), oracle.no_purchase_for(60), [60]),
    "spender": (spent(200, days=90), oracle.spent_within(Decimal(200), 90), [90]),
}

EVERY_SLOT = f"0-{SLOTS - 1}"

Work = Callable[[datetime], Awaitable[None]]


async def run_stages(worker: Worker, workspace_id: str) -> None:
    """Run fold, due and publish until none of them finds anything to do."""
    for stage in (fold_once, due_once):
        while await stage(worker, EVERY_SLOT):
            pass
    while await publish_once(worker, workspace_id):
        pass


def work_always(business: Business) -> Work:
    """Return the work of a worker that runs all the time."""
    worker = Worker.on(business.ctx.resources)

    async def work(_: datetime) -> None:
        await run_stages(worker, business.ctx.workspace.id)

    return work


def work_with_a_stop(business: Business) -> Work:
    """Return the work of a worker that is stopped for nine months."""
    always = work_always(business)

    async def work(at: datetime) -> None:
        if not datetime(1997, 4, 1, tzinfo=UTC) < at < datetime(1998, 1, 1, tzinfo=UTC):
            await always(at)

    return work


def work_with_crashes(business: Business, injector: CrashInjector) -> Work:
    """Return the work of workers that crash all the time. After half of the crashes, no other worker starts that day."""
    random = Random(7)

    async def work(_: datetime) -> None:
        while True:
            worker = injector.add_to(Worker.on(business.ctx.resources))
            try:
                await run_stages(worker, business.ctx.workspace.id)
            except Crash:
                if random.random() < 0.5:
                    return
            else:
                return

    return work


async def replay(business: Business, rows: list[Purchase], work: Work) -> None:
    """Record the purchases of each day before midnight, then set the clock to midnight; run `work` after both."""
    for at, group in groupby(rows, key=lambda row: row.at):
        business.clock.set(at - BEFORE)
        outcome = await business.record(
            *(
                {
                    "pass_external_id": row.customer,
                    "amount": row.amount,
                    "occurred_at": row.at,
                    "external_id": str(row.row),
                }
                for row in group
            )
        )
        assert outcome.failed == outcome.duplicate == 0
        await work(at - BEFORE)
        business.clock.set(at)
        await work(at)
    business.clock.set(END)


async def compare_feed_with_oracle(business: Business, segments: dict[str, Segment], rows: list[Purchase]) -> int:
    """Check that each transition has its instant, comes once and in order; return how many there are."""
    others = await business.read_log(types=tuple(UNLESS_NAMED))
    feed = sorted([*await business.read_log(), *others], key=lambda a: a.position)
    assert [a.position for a in feed] == list(range(1, len(feed) + 1))
    activities: dict[str, list[Activity]] = {}
    for activity in feed:
        activities.setdefault(activity.pass_id, []).append(activity)
    purchases: dict[str, list[Purchase]] = {}
    for row in rows:
        purchases.setdefault(row.customer, []).append(row)
    ids = await business.ctx.workspace.passes.ids_of(list(purchases))
    assert set(activities) == set(ids.values())
    count = 0
    for customer, bought in purchases.items():
        log = activities[ids[customer]]
        assert [a.pass_sequence for a in log] == list(range(1, len(log) + 1))
        assert all(a.occurred_at <= b.occurred_at for a, b in pairwise(log))
        # Entries, exits and changes of the tier carry the event that caused them.
        reports = [a for a in log if a.type not in TRANSITIONS | TIER_TYPES and "event" in a.data]
        events = [a.data["event"]["externalId"] for a in reports]  # type: ignore[index]
        events = [each for each in events if each is not None]  # rules make events without one
        assert sorted(events) == sorted(str(row.row) for row in bought)
        joined = to_ms(bought[0].at - BEFORE)
        for key, (_, criteria, days) in SEGMENTS.items():
            found = [
                (to_ms(a.occurred_at), a.type == ENTERED) for a in log if a.segment_id == segments[key].id
            ]  # fmt: skip
            expected = oracle.list_transitions([row.oracle_event for row in bought], joined, to_ms(END), criteria, days)
            assert found == expected, (customer, key)
            count += len(found)
    assert not [a for a in feed if a.late or a.silent]
    return count


async def compare_history_with_oracle(business: Business, segments: dict[str, Segment], rows: list[Purchase]) -> None:
    """Check who was a member at random instants and at instants of transitions, and how many at the end of their days."""
    purchases: dict[str, list[Purchase]] = {}
    for row in rows:
        purchases.setdefault(row.customer, []).append(row)
    ids, random = await business.ctx.workspace.passes.ids_of(list(purchases)), Random(7)
    for key, (_, criteria, days) in SEGMENTS.items():
        transitions = {
            ids[customer]: oracle.list_transitions(
                [row.oracle_event for row in bought], to_ms(bought[0].at - BEFORE), to_ms(END), criteria, days
            )
            for customer, bought in purchases.items()
        }
        moments = sorted({at_ms for found in transitions.values() for at_ms, _ in found})
        chosen = [*random.sample(moments, 8), *(random.randrange(moments[0], to_ms(END)) for _ in range(8))]
        for at_ms in [*chosen, *(each - 1 for each in chosen)]:
            page = await business.ctx.workspace.intervals.members(segments[key].id, from_ms(at_ms), PageRequest(250))
            assert [stay.pass_id for stay in page.items] == sorted(
                pass_id for pass_id, found in transitions.items() if _is_member(found, at_ms)
            ), (key, at_ms)
        for day in sorted({from_ms(at_ms).date() for at_ms in chosen}):
            before, counts = await business.ctx.workspace.intervals.days(segments[key].id, day, day + timedelta(days=1))
            moved = counts.get(day, DayCounts())
            end_ms = to_ms(datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)) - 1
            expected = sum(_is_member(found, end_ms) for found in transitions.values())
            assert before + moved.entered - moved.left == expected, (key, day)


def _is_member(transitions: list[tuple[int, bool]], at_ms: int) -> bool:
    return [False, *(is_member for moment, is_member in transitions if moment <= at_ms)][-1]


async def replay_and_compare(
    business: Business, work: Work, crashing: AbstractContextManager[object] | None = None, *, every: int = 80
) -> None:
    """Replay every n-th customer of the sample with the given work, and compare feed and balances with the oracles.

    `crashing` is open until all is recorded. The worker that does the rest runs after its end.
    """
    rows = test_sample.purchases(every=every)
    with crashing or nullcontext():
        await define_points_and_tiers(business)
        segments = {key: await business.create_segment(key, criteria) for key, (criteria, _, _) in SEGMENTS.items()}
        await replay(business, rows, work)
    await run_stages(Worker.on(business.ctx.resources), business.ctx.workspace.id)
    assert await compare_feed_with_oracle(business, segments, rows) > 10_000 / every
    await compare_history_with_oracle(business, segments, rows)
    assert await compare_tiers_with_oracle(business, rows, END) > 600 / every


async def test_worker_that_runs_all_the_time_gives_exact_transitions_tiers_and_points(business: Business) -> None:
    """Spend gives points and tiers (WH1-18)."""
    await replay_and_compare(business, work_always(business))


async def test_worker_that_is_stopped_for_months_gives_exact_transitions_tiers_and_points(business: Business) -> None:
    await replay_and_compare(business, work_with_a_stop(business))


async def test_worker_that_crashes_all_the_time_gives_exact_transitions_tiers_and_points(business: Business) -> None:
    injector = CrashInjector(seed=7, chance=1 / 30)
    append = injector.with_crashes("append", ActivityQueries.append)
    crashing = patch.object(ActivityQueries, "append", append)
    await replay_and_compare(business, work_with_crashes(business, injector), crashing, every=40)
    assert sum(injector.crashes.values()) > 100
    assert {"save", "clear", "append", "published"} <= set(injector.crashes)
