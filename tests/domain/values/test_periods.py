"""Calendar periods of a zone: their bounds are midnights of the calendar, also where clocks change."""

from __future__ import annotations

from calendar import monthrange
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.values.instants import from_ms, parse_instant, to_ms
from app.domain.values.periods import PeriodUnit, days_end_ms, period_days, period_end_ms, period_start_ms
from app.domain.values.zones import days_of

BERLIN = ZoneInfo("Europe/Berlin")
zones = st.sampled_from(
    [BERLIN, *map(ZoneInfo, ("UTC", "America/Santiago", "Pacific/Apia", "Africa/Cairo", "Asia/Kolkata"))]
)
"""Zones without clock changes, with changes at 2 o'clock and at midnight, and one that skipped a whole day."""
units = st.sampled_from(PeriodUnit)
instants = st.integers(to_ms(parse_instant("1990-01-01T00:00:00Z")), to_ms(parse_instant("2100-01-01T00:00:00Z")))


def ms(text: str) -> int:
    return to_ms(parse_instant(text))


def count_days(day: date, unit: PeriodUnit) -> int:
    """Return the days of the period that contains a day, by another computation than the code under test."""
    quarter = [day.replace(day=1, month=(day.month + 2) // 3 * 3 - offset) for offset in (2, 1, 0)]
    return {
        PeriodUnit.DAY: 1,
        PeriodUnit.WEEK: 7,
        PeriodUnit.MONTH: monthrange(day.year, day.month)[1],
        PeriodUnit.QUARTER: sum(monthrange(month.year, month.month)[1] for month in quarter),
        PeriodUnit.YEAR: 366 if monthrange(day.year, 2)[1] == 29 else 365,
    }[unit]


@given(units, zones, instants)
def test_instant_lies_in_its_period_and_all_instants_of_it_have_the_same_one(
    unit: PeriodUnit, zone: ZoneInfo, at_ms: int
) -> None:
    start_ms, end_ms = period_start_ms(unit, zone, at_ms), period_end_ms(unit, 0, zone, at_ms)
    assert start_ms <= at_ms < end_ms
    for other_ms in (start_ms, (start_ms + end_ms) // 2, end_ms - 1):
        assert period_start_ms(unit, zone, other_ms) == start_ms
        assert period_end_ms(unit, 0, zone, other_ms) == end_ms
    assert period_start_ms(unit, zone, end_ms) == end_ms


@given(units, zones, instants, st.integers(0, 40))
def test_end_some_periods_later_is_that_of_walking_period_by_period(
    unit: PeriodUnit, zone: ZoneInfo, at_ms: int, plus: int
) -> None:
    day = period_days(days_of(zone).day_of(at_ms), unit)[1]
    for _ in range(plus):
        day = period_days(day, unit)[1]
    assert period_end_ms(unit, plus, zone, at_ms) == days_of(zone).start_ms(day)


@given(units, st.dates(date(1990, 1, 1), date(2100, 1, 1)))
def test_period_has_as_many_days_as_the_calendar_says(unit: PeriodUnit, day: date) -> None:
    first, after = period_days(day, unit)
    assert first <= day < after
    assert (after - first).days == count_days(day, unit)
    assert unit is PeriodUnit.DAY or (first.weekday() == 0 if unit is PeriodUnit.WEEK else first.day == 1)


@given(zones, instants, st.integers(0, 800))
def test_some_days_end_at_the_local_midnight_of_the_calendar_day(zone: ZoneInfo, at_ms: int, count: int) -> None:
    end_ms = days_end_ms(count, zone, at_ms)
    day = days_of(zone).day_of(at_ms) + timedelta(days=count)
    assert end_ms == days_of(zone).start_ms(day)
    assert count == 0 or end_ms > at_ms


@pytest.mark.parametrize(
    ("unit", "plus", "start", "end"),
    [
        (PeriodUnit.DAY, 0, "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"),
        (PeriodUnit.DAY, 1, "2026-03-29T00:00:00+01:00", "2026-03-31T00:00:00+02:00"),
        (PeriodUnit.WEEK, 0, "2026-03-23T00:00:00+01:00", "2026-03-30T00:00:00+02:00"),
        (PeriodUnit.MONTH, 0, "2026-03-01T00:00:00+01:00", "2026-04-01T00:00:00+02:00"),
        (PeriodUnit.MONTH, 10, "2026-03-01T00:00:00+01:00", "2027-02-01T00:00:00+01:00"),
        (PeriodUnit.QUARTER, 0, "2026-01-01T00:00:00+01:00", "2026-04-01T00:00:00+02:00"),
        (PeriodUnit.QUARTER, 3, "2026-01-01T00:00:00+01:00", "2027-01-01T00:00:00+01:00"),
        (PeriodUnit.YEAR, 1, "2026-01-01T00:00:00+01:00", "2028-01-01T00:00:00+01:00"),
    ],
)
def test_period_in_berlin_on_the_day_on_which_clocks_go_forward(
    unit: PeriodUnit, plus: int, start: str, end: str
) -> None:
    at_ms = ms("2026-03-29T12:00:00+02:00")
    assert from_ms(period_start_ms(unit, BERLIN, at_ms)) == parse_instant(start)
    assert from_ms(period_end_ms(unit, plus, BERLIN, at_ms)) == parse_instant(end)


def test_days_to_local_midnight_are_not_multiples_of_24_hours_over_a_clock_change() -> None:
    at_ms = ms("2026-10-24T10:00:00+02:00")
    assert from_ms(days_end_ms(1, BERLIN, at_ms)) == parse_instant("2026-10-25T00:00:00+02:00")
    assert from_ms(days_end_ms(2, BERLIN, at_ms)) == parse_instant("2026-10-26T00:00:00+01:00")
