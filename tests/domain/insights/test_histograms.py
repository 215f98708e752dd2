"""Histograms of events over the days of the week and the hours of the day."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from zoneinfo import ZoneInfo

import pytest

from app.domain.errors import InvalidInput
from app.domain.events.events import RULE_CHANNEL, Origin
from app.domain.insights.histograms import build_histogram, check_cells, slots_of
from app.domain.insights.periods import Asked, parse_month
from app.domain.rollups.rows import row_of
from app.domain.rollups.selections import LocalClock
from app.domain.values.instants import to_ms
from tests.domain.state.test_statistics import event

ZONES = ("UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns")


@pytest.mark.parametrize("zone", ZONES)
def test_buckets_are_those_of_plain_local_time(zone: str) -> None:
    random, local = Random(zone), ZoneInfo(zone)
    start = datetime(2025, 3, 1, tzinfo=UTC)
    events = [
        replace(
            event(1 + number % 28, "purchase", "1.10"), occurred_at=start + timedelta(minutes=random.randrange(90_000))
        )
        for number in range(300)
    ]
    asked = Asked(to_ms(start), to_ms(start + timedelta(days=63)), local, week_start=2)
    for by in LocalClock:
        expected: Counter[object] = Counter()
        for each in events:
            at = each.occurred_at.astimezone(local)
            expected[at.weekday() if by.has_weekday else None, at.hour if by.has_hour else None] += 1
        found = build_histogram(map(row_of, events), asked, by)
        assert [bucket.slot for bucket in found] == slots_of(by, 2)
        assert {bucket.slot: bucket.count for bucket in found if bucket.count} == expected
        revenue = {bucket.slot: row.orders for bucket in found for row in bucket.revenue}
        assert revenue == expected


def test_made_events_count_only_where_their_type_is_named() -> None:
    made = replace(event(1, "payment", "5"), origin=Origin(RULE_CHANNEL))
    asked = parse_month("2026-01", ZoneInfo("UTC"), 0)
    for types in ((), ("payment",)):
        [bucket] = [each for each in build_histogram([row_of(made)], asked, LocalClock.WEEKDAY, types) if each.revenue]
        assert (bucket.count, bucket.revenue[0].net) == (len(types), Decimal(5))


def test_weeks_begin_on_the_day_of_the_workspace() -> None:
    assert [slot[0] for slot in slots_of(LocalClock.WEEKDAY, 6)] == [6, 0, 1, 2, 3, 4, 5]
    assert slots_of(LocalClock.WEEKDAY_AND_HOUR, 6)[:2] == [(6, 0), (6, 1)]


def test_hours_that_begin_within_a_quarter_are_refused_with_advice() -> None:
    liberia = ZoneInfo("Africa/Monrovia")
    check_cells(parse_month("1975-01", liberia, 0), LocalClock.HOUR)
    check_cells(parse_month("1970-01", liberia, 0), LocalClock.WEEKDAY)
    with pytest.raises(InvalidInput, match="aggregateEvents"):
        check_cells(parse_month("1970-01", liberia, 0), LocalClock.HOUR)
