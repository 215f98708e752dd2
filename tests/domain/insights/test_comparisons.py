"""Comparison of a period with an earlier one."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from app.domain.insights.comparisons import Change, Comparison, change_between, comparable_key, earlier_period
from app.domain.insights.periods import Asked
from app.domain.state.aggregations import PERIODS, GroupBy
from app.domain.state.statistics import period_of
from app.domain.values.instants import from_ms, to_ms

BERLIN = ZoneInfo("Europe/Berlin")
PREVIOUS, LAST_YEAR = Comparison.PREVIOUS_PERIOD, Comparison.SAME_PERIOD_LAST_YEAR


def asked(start: str, end: str) -> Asked:
    first, after = (to_ms(datetime.fromisoformat(text).replace(tzinfo=BERLIN)) for text in (start, end))
    return Asked(first, after, BERLIN, week_start=3)


@pytest.mark.parametrize(
    ("period", "comparison", "expected"),
    [
        (("2025-03-01", "2025-04-01"), PREVIOUS, ("2025-02-01", "2025-03-01")),
        (("2025-01-01", "2026-01-01"), PREVIOUS, ("2024-01-01", "2025-01-01")),
        (("2025-01-01", "2025-04-01"), PREVIOUS, ("2024-10-01", "2025-01-01")),
        (("2025-03-24", "2025-03-31"), PREVIOUS, ("2025-03-17", "2025-03-24")),
        (("2025-03-31", "2025-04-07"), PREVIOUS, ("2025-03-24", "2025-03-31")),
        (("2025-03-31T06:00", "2025-03-31T18:00"), PREVIOUS, ("2025-03-30T18:00", "2025-03-31T06:00")),
        (("2025-03-01", "2025-04-01"), LAST_YEAR, ("2024-03-01", "2024-04-01")),
        (("2024-02-29", "2024-03-01"), LAST_YEAR, ("2023-02-28", "2023-03-01")),
        (("2024-02-01", "2024-03-01"), LAST_YEAR, ("2023-02-01", "2023-03-01")),
        (("2024-02-01", "2024-02-29"), LAST_YEAR, ("2023-02-01", "2023-03-01")),
        (("2024-02-28", "2024-02-29"), LAST_YEAR, ("2023-02-28", "2023-03-01")),
        (("2025-06-01T09:30", "2025-06-02T09:30"), LAST_YEAR, ("2024-06-01T09:30", "2024-06-02T09:30")),
        (("2026-03-29T15:00", "2026-10-25T15:00"), LAST_YEAR, ("2025-03-29T15:00", "2025-10-25T15:00")),
        (("2026-03-30T15:00", "2026-10-26T15:00"), LAST_YEAR, ("2025-03-30T15:00", "2025-10-26T15:00")),
        (("2026-03-30T02:30", "2026-10-26T02:30"), LAST_YEAR, ("2025-03-30T02:30", "2025-10-26T02:30")),
        (("2024-02-28T12:00", "2024-02-29T06:00"), LAST_YEAR, ("2023-02-28T12:00", "2023-03-01T06:00")),
    ],
)
def test_earlier_period_keeps_months_days_or_length(
    period: tuple[str, str], comparison: Comparison, expected: tuple[str, str]
) -> None:
    assert earlier_period(asked(*period), comparison) == asked(*expected)


def test_groups_are_compared_by_the_number_of_their_period() -> None:
    present = asked("2025-03-01", "2025-04-01")
    earlier = earlier_period(present, PREVIOUS)
    third, before = (from_ms(asked(day, "2025-12-31").from_ms) for day in ("2025-03-03", "2025-02-03"))
    by = (GroupBy.DAY, GroupBy.TYPE)
    assert comparable_key((third, "visit", "1"), by, present) == (2, "visit", "1")
    assert comparable_key((before, "visit", "1"), by, earlier) == (2, "visit", "1")
    for unit in PERIODS:
        start = period_of(third, PERIODS[unit], BERLIN, present.week_start)[0]
        after = period_of(third, PERIODS[unit], BERLIN, present.week_start)[1]
        [first], [following] = (comparable_key((each,), (unit,), present) for each in (start, after))
        assert (first, following) == ((2, 3) if unit is GroupBy.DAY else (0, 1)), unit


def test_every_earlier_period_lasts_and_ends_before_the_present_one_ends() -> None:
    for hours in range(0, 24 * 400, 7):
        start = to_ms(datetime(2024, 1, 1, tzinfo=BERLIN)) + hours * 3_600_000
        for length in (1, 3_600_000, 86_400_000, 30 * 86_400_000):
            present = Asked(start, start + length, BERLIN)
            for comparison in Comparison:
                found = earlier_period(present, comparison)
                assert found.from_ms < found.to_ms < present.to_ms, from_ms(start)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ("100", "110", ("10", "0.1")),
        ("0.30", "0.10", ("-0.20", "-0.666667")),
        ("-50", "50", ("100", "2")),
        ("0", "5", ("5", None)),
        (None, "5", (None, None)),
        ("5", None, (None, None)),
    ],
)
def test_ratio_is_the_change_by_the_size_of_the_earlier_value(
    before: str | None, now: str | None, expected: tuple[str | None, str | None]
) -> None:
    earlier, present = (None if each is None else Decimal(each) for each in (before, now))
    change, ratio = (None if each is None else Decimal(each) for each in expected)
    assert change_between(earlier, present) == Change(earlier, change, ratio)
