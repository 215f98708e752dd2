"""Aggregations from rollups: the same groups as the store computes from the events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest

from app.commands.insights.aggregations import aggregate_from_rollups
from app.commands.insights.customers import count_passes
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import CHECKOUT, Event
from app.domain.rollups.levels import Level
from app.domain.rollups.plans import Period
from app.domain.state.aggregations import AMOUNT, COUNTS, PERIODS, POINTS, Aggregation, Function, Group, GroupBy
from app.domain.values.instants import EARLIEST, LATEST
from tests.business import Business
from tests.sealing import seal_events
from tests.store.workspace.counted import ZONES, store_events

pytestmark = pytest.mark.not_on_java("it has no $dateTrunc")


def comparable(groups: Iterable[Group]) -> list[tuple[str, int, object]]:
    return sorted((str(group.key), group.events, group.value) for group in groups)


async def test_answers_from_rollups_equal_those_from_events(business: Business) -> None:
    random = Random(9)
    events = await store_events(business, 300)
    hours = sorted({Period(Level.HOUR, Level.HOUR.start_ms(event.occurred_ms)) for event in events})
    folded = [event for event in events if int(event.id[-4:]) % 3]
    await seal_events(business, folded, random.sample(hours, len(hours) // 20))
    functions = [each for each in Function if each is not Function.COUNT_PASSES]
    dimensions = [by for by in GroupBy if by is not GroupBy.PASS]
    for number, by in enumerate((None, *dimensions) * 2):
        function = functions[number % len(functions)]
        field = None if function in COUNTS else random.choice((AMOUNT, POINTS))
        with_type = by is not None and by in PERIODS
        group_by = () if by is None else (by, GroupBy.TYPE) if with_type else (by,)
        aggregation = Aggregation(
            function,
            field,
            group_by,
            gross=random.random() < 0.3,
            zone=ZoneInfo(random.choice(ZONES)),
            week_start=random.randrange(7),
        )
        low, high = sorted(random.choice(events).occurred_at + timedelta(days=random.uniform(-2, 2)) for _ in range(2))
        query = EventQuery(
            types=random.choice(((), (CHECKOUT, "refund"), ("purchase",))),
            sources=random.choice(((), ("till",))),
            currency=random.choice((None, "EUR")),
            occurred_after=random.choice((low, None)),
            occurred_before=random.choice((high, None)),
        )
        found, plan = await aggregate_from_rollups(business.ctx, query, aggregation)
        assert plan.reason is None or "quarters" in plan.reason
        if found is not None:
            expected = await business.ctx.workspace.aggregations.groups(query, aggregation, 10_000)
            assert comparable(found) == comparable(expected), (query, aggregation)


async def test_events_that_wait_count_neither_in_rollups_nor_in_reads_of_events(business: Business) -> None:
    """Guarded events, corrections and parked events are left out, also of questions that only events answer."""
    events = await store_events(business, 90)
    await seal_events(business, [event for event in events if int(event.id[-4:]) % 3])
    new = [event for event in events if int(event.id[-4:]) % 3 == 0 and not event.is_made]
    guarded, corrections, parked = new[0::4], new[1::4], new[2::4]
    db = business.ctx.resources.db
    for some, fields in ((guarded, {"guard": {}}), (corrections, {"correction_of": "e"}), (parked, {"pend": -2})):
        await db["events"].update_many({"_id": {"$in": [event.id for event in some]}}, {"$set": fields})
    left_out = {event.id for event in (*guarded, *corrections, *parked)}
    rest = [event for event in events if event.id not in left_out]
    aggregation = Aggregation(Function.COUNT, None, (GroupBy.TYPE,))
    expected = Counter((event.type,) for event in rest if not event.is_made)
    query, store = EventQuery(), business.ctx.workspace.aggregations
    from_rollups, plan = await aggregate_from_rollups(business.ctx, query, aggregation)
    assert from_rollups is not None, plan
    assert {group.key: group.events for group in from_rollups} == expected
    assert comparable(await store.groups(query, aggregation, 100)) == comparable(from_rollups)
    read: list[Event] = []
    await store.read_counted(query, aggregation, 100, read.extend)
    assert Counter((event.type,) for event in read) == expected
    assert await count_passes(business.ctx, query) == len({event.pass_id for event in rest if not event.is_made})
    customers, made = await store.of_pass(rest[0].pass_id, EARLIEST, LATEST)
    of_pass = Counter(event.type for event in rest if event.pass_id == rest[0].pass_id)
    counts = Counter[str]()
    for rows in (customers, made):
        for (event_type, _), row in rows.items():
            counts[event_type] += row.count
    assert counts == of_pass
