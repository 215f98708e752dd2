"""Aggregations: the store computes the same groups as the domain from the same events (WH2-27, WH2-28)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from app.domain.events.events import Event, EventQuery
from app.domain.state.aggregations import (
    AMOUNT,
    COUNTS,
    PERIODS,
    POINTS,
    Aggregation,
    Function,
    Group,
    GroupBy,
    aggregate_groups,
)
from tests.business import Business

TYPES = ("purchase", "refund", "visit", "credit")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")
SHIFTS = ("2025-03-30T01:00:00", "2025-10-26T01:00:00", "2025-03-09T07:00:00", "2025-10-05T15:30:00")
"""Instants near clock changes in some of these zones."""


def random_items(random: Random, count: int) -> Iterable[dict[str, object]]:
    for number in range(count):
        near = datetime.fromisoformat(random.choice(SHIFTS)).replace(tzinfo=UTC)
        kind = random.choice(TYPES)
        yield {
            "external_id": f"e{number}",
            "pass_external_id": random.choice(("ann", "bob", "cas")),
            "type": kind,
            "amount": None if kind == "visit" else random.choice(("0.01", "12.30", "999999.999999", "3")),
            "currency": random.choice(("EUR", "USD")),
            "points": random.choice((None, 5, "-2.5")),
            "source": random.choice(("till", "web")),
            "occurred_at": near + timedelta(minutes=random.randrange(-3000, 3000)),
        }


async def record_items(business: Business) -> list[Event]:
    outcome = await business.record(*random_items(Random(7), 300))
    events = [result.event for result in outcome.results if result.event is not None]
    assert len(events) == 300
    return events


def comparable(groups: Iterable[Group]) -> list[tuple[object, ...]]:
    return sorted(((tuple(map(str, g.key)), g.events, g.value) for g in groups), key=str)


async def test_every_function_by_every_dimension_equals_plain_arithmetic(business: Business) -> None:
    events = await record_items(business)
    query = EventQuery(currency="EUR")
    euros = [event for event in events if event.currency == "EUR"]
    for index, (function, by) in enumerate(itertools.product(Function, (None, *GroupBy))):
        field = None if function in COUNTS else (AMOUNT, POINTS)[index % 2]
        zone = ZoneInfo(ZONES[index % len(ZONES)])
        dimensions = () if by is None else (by, GroupBy.TYPE)[: 1 + (by is not GroupBy.TYPE)]
        aggregation = Aggregation(function, field, dimensions, gross=index % 3 == 0, zone=zone, week_start=index % 7)
        found = await business.ctx.workspace.aggregations.groups(query, aggregation, 10_000)
        assert comparable(found) == comparable(aggregate_groups(aggregation, euros)), (function, by)
        assert found, (function, by)


async def test_periods_begin_at_midnight_of_the_zone_also_when_clocks_change(business: Business) -> None:
    events = await record_items(business)
    for zone, period in itertools.product(ZONES, PERIODS):
        aggregation = Aggregation(Function.COUNT, None, (period,), zone=ZoneInfo(zone), week_start=6)
        found = await business.ctx.workspace.aggregations.groups(EventQuery(), aggregation, 10_000)
        assert comparable(found) == comparable(aggregate_groups(aggregation, events)), (zone, period)


async def test_greatest_groups_come_first_if_requested(business: Business) -> None:
    await record_items(business)
    aggregation = Aggregation(Function.SUM, AMOUNT, (GroupBy.PASS,))
    store = business.ctx.workspace.aggregations
    groups = await store.groups(EventQuery(currency="EUR"), aggregation, 10)
    [greatest] = await store.groups(EventQuery(currency="EUR"), aggregation, 1, greatest_first=True)
    assert greatest.value == max(group.value for group in groups if group.value is not None)
