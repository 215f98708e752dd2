"""The sample, replayed day by day: every flip in the feed once, at its exact instant, whatever the worker went through.

The day's events are recorded while the clock stands a minute before their instant, then it moves there: at midnight
itself a pass could already have been judged, and who comes after that is late.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby, pairwise
from random import Random

import pytest

from app.domain.activities import ENTERED, Activity
from app.domain.ids import SLOTS
from app.domain.segments.segments import Segment
from app.domain.values.instants import to_ms
from app.store.workspace.activities import ActivityQueries
from tests import oracle
from tests import sample as test_sample
from tests.business import Business, bought_within, nothing_for, spent
from tests.deaths import Killed, Reaper
from tests.sample import Purchase
from workers.stages.due import due_once
from workers.stages.fold import fold_once
from workers.stages.publish import publish_once
from workers.worker import Worker

WHOLE = bool(os.environ.get("PUNCHCARD_WHOLE_SAMPLE"))
"""Every customer in every test: some minutes on the slower of the embedded servers, so it is asked for."""
pytestmark = pytest.mark.timeout(1_800 if WHOLE else 300)

BEFORE = timedelta(minutes=1)
END = datetime(1998, 10, 1, tzinfo=UTC)
SEGMENTS = {
    "recent": (bought_within(30), oracle.bought_within(30), [30]),
    "away": (nothing_for(60), oracle.nothing_for(60), [60]),
    "spender": (spent(200, days=90), oracle.spent_within(Decimal(200), 90), [90]),
}

EVERY_SLOT = f"0-{SLOTS - 1}"

Work = Callable[[datetime], Awaitable[None]]


async def swept(worker: Worker, workspace_id: str) -> None:
    """Everything that a worker finds to do now, stage by stage."""
    for stage in (fold_once, due_once):
        while await stage(worker, EVERY_SLOT):
            pass
    while await publish_once(worker, workspace_id):
        pass


async def replay(business: Business, rows: list[Purchase], work: Work) -> None:
    """Records each day's purchases before its midnight, moves the clock there, and lets the worker work after either."""
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


async def assert_the_feed_equals_the_oracle(
    business: Business, segments: dict[str, Segment], rows: list[Purchase]
) -> int:
    """How many flips there were; every one of them at its instant, once, and in order for each pass."""
    feed = await business.feed()
    assert [a.position for a in feed] == list(range(1, len(feed) + 1))
    told: dict[str, list[Activity]] = {}
    for activity in feed:
        told.setdefault(activity.pass_id, []).append(activity)
    bought: dict[str, list[Purchase]] = {}
    for row in rows:
        bought.setdefault(row.customer, []).append(row)
    ids = await business.ctx.workspace.passes.ids_of(list(bought))
    assert set(told) == set(ids.values())
    count = 0
    for customer, purchased in bought.items():
        lines = told[ids[customer]]
        assert [a.pass_sequence for a in lines] == list(range(1, len(lines) + 1))
        assert all(a.occurred_at <= b.occurred_at for a, b in pairwise(lines))
        events = [a.data["event"]["externalId"] for a in lines if "event" in a.data]  # type: ignore[index]
        assert sorted(events) == sorted(str(row.row) for row in purchased)
        joined = to_ms(purchased[0].at - BEFORE)
        for key, (_, verdict, days) in SEGMENTS.items():
            flips = [
                (to_ms(a.occurred_at), a.type == ENTERED) for a in lines if a.segment_id == segments[key].id
            ]  # fmt: skip
            assert flips == oracle.flips([r.happening for r in purchased], joined, to_ms(END), verdict, days), (
                customer,
                key,
            )
            count += len(flips)
    assert not [a for a in feed if a.late or a.silent]
    return count


async def replayed(business: Business, rows: list[Purchase], work: Work) -> int:
    """The sample replayed with a worker that works so; how many flips the feed told of, after all was compared."""
    segments = {key: await business.segment(key, criteria) for key, (criteria, _, _) in SEGMENTS.items()}
    await replay(business, rows, work)
    await swept(Worker.on(business.ctx.resources), business.ctx.workspace.id)
    return await assert_the_feed_equals_the_oracle(business, segments, rows)


def customers(every: int) -> list[Purchase]:
    """The purchases of every n-th customer, or of all of them where that is asked for."""
    return test_sample.purchases(every=1 if WHOLE else every)


async def test_a_worker_that_runs_all_the_time(business: Business) -> None:
    worker = Worker.on(business.ctx.resources)
    assert await replayed(business, customers(every=20), lambda at: swept(worker, business.ctx.workspace.id)) > 500


async def test_a_worker_that_is_stopped_for_half_of_it(business: Business) -> None:
    worker = Worker.on(business.ctx.resources)

    async def work(at: datetime) -> None:
        if not datetime(1997, 4, 1, tzinfo=UTC) < at < datetime(1998, 1, 1, tzinfo=UTC):
            await swept(worker, business.ctx.workspace.id)

    assert await replayed(business, customers(every=8), work) > 1_250


async def test_a_worker_that_is_killed_all_along(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    reaper, random = Reaper(seed=7, chance=1 / 30), Random(7)

    async def work(at: datetime) -> None:
        while True:
            worker = reaper.over(Worker.on(business.ctx.resources))
            try:
                await swept(worker, business.ctx.workspace.id)
            except Killed:
                if random.random() < 0.5:
                    return
            else:
                return

    with monkeypatch.context() as deadly:
        deadly.setattr(ActivityQueries, "append", reaper.mortal("append", ActivityQueries.append))
        segments = {key: await business.segment(key, criteria) for key, (criteria, _, _) in SEGMENTS.items()}
        await replay(business, rows := customers(every=20), work)
    await swept(Worker.on(business.ctx.resources), business.ctx.workspace.id)
    assert await assert_the_feed_equals_the_oracle(business, segments, rows) > 500
    assert sum(reaper.deaths.values()) > 200
    assert {"save", "clear", "append", "published"} <= set(reaper.deaths)
