"""Aggregations: the store computes the same groups as the domain from the same events (WH2-27, WH2-28)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest

from app.domain.events.event_queries import EventQuery
from app.domain.events.events import Event
from app.domain.state.aggregates import fold_events
from app.domain.state.aggregations import (
    AMOUNT,
    COUNTS,
    PERIODS,
    POINTS,
    Aggregation,
    Function,
    Group,
    GroupBy,
)
from app.domain.state.ranking import GroupOrder, Ranking
from app.domain.state.statistics import Period, period_of
from app.domain.values.instants import EARLIEST, LATEST
from tests.business import Business
from tests.grouping import aggregate_groups

NEEDS_DATE_TRUNC = pytest.mark.not_on_java("it has no $dateTrunc")
TYPES = ("purchase", "refund", "visit", "credit")
ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Santiago", "Asia/Beirut",
    "Africa/Cairo", "America/St_Johns",
)  # fmt: skip
SHIFTS = (
    "2025-03-30T01:00:00", "2025-10-26T01:00:00", "2025-03-09T07:00:00", "2025-10-05T15:30:00", "2022-09-11T04:00:00",
    "2022-03-26T22:00:00", "2024-04-25T22:00:00", "2006-10-29T02:31:00",
)  # fmt: skip
"""Instants near clock changes in some of these zones. The last four changes are at midnight, or over it."""


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


@NEEDS_DATE_TRUNC
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


@NEEDS_DATE_TRUNC
async def test_periods_begin_at_midnight_of_the_zone_also_when_clocks_change(business: Business) -> None:
    events = await record_items(business)
    for zone, period in itertools.product(ZONES, PERIODS):
        aggregation = Aggregation(Function.COUNT, None, (period,), zone=ZoneInfo(zone), week_start=6)
        found = await business.ctx.workspace.aggregations.groups(EventQuery(), aggregation, 10_000)
        assert comparable(found) == comparable(aggregate_groups(aggregation, events)), (zone, period)


@NEEDS_DATE_TRUNC
async def test_each_group_of_a_period_has_the_events_from_its_start_to_its_end(business: Business) -> None:
    await record_items(business)
    store = business.ctx.workspace.aggregations
    for zone, period in itertools.product(ZONES[-4:], (Period.DAY, Period.WEEK)):
        aggregation = Aggregation(Function.COUNT, None, (GroupBy(period),), zone=ZoneInfo(zone))
        groups = await store.groups(EventQuery(), aggregation, 10_000)
        for group in groups:
            start = group.key[0]
            assert isinstance(start, datetime)
            start_at, end_at = period_of(start, period, aggregation.zone, 0)
            assert start_at == start
            assert await store.count(EventQuery(occurred_after=start, occurred_before=end_at)) == group.events, zone
            within = EventQuery(occurred_after=start, occurred_before=end_at)
            assert await store.groups(within, aggregation, 9) == [group], zone


async def test_aggregates_of_a_pass_in_a_window_equal_those_folded_from_its_events(business: Business) -> None:
    events = [event for event in await record_items(business) if event.pass_id]
    ann = (await business.ctx.workspace.passes.ids_of(["ann"]))["ann"]
    start, end = datetime(2022, 9, 10, tzinfo=UTC), datetime(2025, 6, 1, tzinfo=UTC)
    inside = [event for event in events if event.pass_id == ann and start <= event.occurred_at < end]
    assert len(inside) > 30
    assert await business.ctx.workspace.aggregations.of_pass(ann, start, end) == (fold_events({}, inside), {})
    await business.record({"type": "dues", "category": "TRANSACTION", "amount": "5"}, {"type": "dues", "amount": "3"})
    found, _ = await business.ctx.workspace.aggregations.of_pass(ann, datetime(2025, 12, 1, tzinfo=UTC), LATEST)
    assert found["dues", "USD"].spent == 5
    assert await business.ctx.workspace.aggregations.of_pass(ann, EARLIEST, datetime(1999, 1, 1, tzinfo=UTC)) == (
        {},
        {},
    )


async def test_greatest_groups_come_first_if_requested(business: Business) -> None:
    await record_items(business)
    aggregation = Aggregation(Function.SUM, AMOUNT, (GroupBy.PASS,))
    store = business.ctx.workspace.aggregations
    groups = await store.groups(EventQuery(currency="EUR"), aggregation, 10)
    [greatest] = await store.groups(EventQuery(currency="EUR"), aggregation, 1, Ranking(GroupOrder.VALUE))
    assert greatest.value == max(group.value for group in groups if group.value is not None)
