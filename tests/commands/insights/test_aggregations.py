"""Aggregations from rollups: the same groups as the store computes from the events."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest

from app.commands.insights.aggregations import aggregate_from_rollups
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import CHECKOUT
from app.domain.rollups.levels import Level
from app.domain.rollups.plans import Period
from app.domain.state.aggregations import AMOUNT, COUNTS, PERIODS, POINTS, Aggregation, Function, Group, GroupBy
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
