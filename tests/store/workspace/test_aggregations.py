"""Aggregations: what the store works out equals what the domain works out of the same events (WH2-27, WH2-28)."""

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
"""When clocks were changed in some of these zones."""


def happenings(random: Random, count: int) -> Iterable[dict[str, object]]:
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


async def recorded(business: Business) -> list[Event]:
    outcome = await business.record(*happenings(Random(7), 300))
    events = [result.event for result in outcome.results if result.event is not None]
    assert len(events) == 300
    return events


def comparable(groups: Iterable[Group]) -> list[tuple[object, ...]]:
    return sorted(((tuple(map(str, g.key)), g.events, g.value) for g in groups), key=str)


async def test_every_function_by_every_dimension_is_what_a_plain_computation_gives(business: Business) -> None:
    events = await recorded(business)
    query = EventQuery(currency="EUR")
    euros = [event for event in events if event.currency == "EUR"]
    for place, (function, by) in enumerate(itertools.product(Function, (None, *GroupBy))):
        field = None if function in COUNTS else (AMOUNT, POINTS)[place % 2]
        zone = ZoneInfo(ZONES[place % len(ZONES)])
        dimensions = () if by is None else (by, GroupBy.TYPE)[: 1 + (by is not GroupBy.TYPE)]
        asked = Aggregation(function, field, dimensions, gross=place % 3 == 0, zone=zone, week_start=place % 7)
        found = await business.ctx.workspace.aggregations.groups(query, asked, 10_000)
        assert comparable(found) == comparable(aggregate_groups(asked, euros)), (function, by)
        assert found, (function, by)


async def test_periods_are_cut_at_the_midnight_of_the_zone_also_when_clocks_change(business: Business) -> None:
    events = await recorded(business)
    for zone, period in itertools.product(ZONES, PERIODS):
        asked = Aggregation(Function.COUNT, None, (period,), zone=ZoneInfo(zone), week_start=6)
        found = await business.ctx.workspace.aggregations.groups(EventQuery(), asked, 10_000)
        assert comparable(found) == comparable(aggregate_groups(asked, events)), (zone, period)


async def test_the_greatest_groups_come_first_where_they_are_asked_for(business: Business) -> None:
    await recorded(business)
    asked = Aggregation(Function.SUM, AMOUNT, (GroupBy.PASS,))
    store = business.ctx.workspace.aggregations
    everyone = await store.groups(EventQuery(currency="EUR"), asked, 10)
    [best] = await store.groups(EventQuery(currency="EUR"), asked, 1, greatest_first=True)
    assert best.value == max(group.value for group in everyone if group.value is not None)
