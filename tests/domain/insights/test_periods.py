"""Periods of questions about all customers."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from app.domain.errors import Code, InvalidInput
from app.domain.insights.periods import MAX_PERIOD_DAYS, Asked, check_length, parse_month, split_period
from app.domain.values.instants import DAY_MS, HOUR_MS, to_ms
from app.domain.values.periods import PeriodUnit

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> int:
    return to_ms(datetime.fromisoformat(text))


def test_month_begins_and_ends_at_local_midnight() -> None:
    assert parse_month("2025-03", BERLIN, 0, "month") == Asked(
        at("2025-03-01T00:00:00+01:00"), at("2025-04-01T00:00:00+02:00"), BERLIN
    )


@pytest.mark.parametrize(
    "raw", ["2025", "2025-13", "2025-1", "2025-01-01", "1899-01", "2200-01", " 2025-01", 202501, None]
)
def test_text_that_is_no_month_is_refused_with_an_example(raw: object) -> None:
    with pytest.raises(InvalidInput, match="2025-01") as refused:
        parse_month(raw, BERLIN, 0, "input", "month")
    assert [(each.code, each.field) for each in refused.value.problems] == [(Code.INVALID, ("input", "month"))]


def test_period_of_more_than_ten_years_is_refused_with_advice() -> None:
    longest = Asked(0, MAX_PERIOD_DAYS * DAY_MS, BERLIN)
    assert check_length(longest, "to") is longest
    with pytest.raises(InvalidInput, match="parts") as refused:
        check_length(Asked(0, 36_525 * DAY_MS, BERLIN), "to")
    assert [each.code for each in refused.value.problems] == [Code.OUT_OF_RANGE]


def test_days_of_a_period_are_cut_at_its_ends_and_follow_the_clocks() -> None:
    asked = Asked(at("2025-03-29T06:00:00+01:00"), at("2025-03-31T12:00:00+02:00"), BERLIN)
    days = split_period(asked, PeriodUnit.DAY, 3, "unit")
    assert [(end - start) // HOUR_MS for start, end in days] == [18, 23, 12]
    assert [days[0][0], days[-1][1]] == [asked.from_ms, asked.to_ms]
    with pytest.raises(InvalidInput, match="At most 2 periods"):
        split_period(asked, PeriodUnit.DAY, 2, "unit")


def test_day_that_a_zone_skipped_is_left_out() -> None:
    apia = ZoneInfo("Pacific/Apia")
    month = parse_month("2011-12", apia, 0, "month")
    assert len(split_period(month, PeriodUnit.DAY, 31, "unit")) == 30


def test_weeks_begin_on_the_day_of_the_workspace() -> None:
    asked = Asked(at("2025-01-01T00:00:00+01:00"), at("2025-01-15T00:00:00+01:00"), BERLIN, week_start=6)
    starts = [start for start, _ in split_period(asked, PeriodUnit.WEEK, 9, "unit")]
    assert starts == [asked.from_ms, at("2025-01-05T00:00:00+01:00"), at("2025-01-12T00:00:00+01:00")]
