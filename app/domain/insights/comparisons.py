"""Comparison of a period with an earlier one: which one it is, and how far a value changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from app.domain.state.aggregations import PERIODS, GroupBy, Key
from app.domain.values.decimals import average, subtract_exactly
from app.domain.values.instants import DAY_MS, to_ms
from app.domain.values.periods import PeriodUnit, add_periods, period_days
from app.domain.values.zones import Days, days_of

from .periods import Asked


class Comparison(StrEnum):
    """Earlier period that a period is compared with."""

    PREVIOUS_PERIOD = "PREVIOUS_PERIOD"
    SAME_PERIOD_LAST_YEAR = "SAME_PERIOD_LAST_YEAR"


@dataclass(frozen=True, slots=True)
class Change:
    """Value in the earlier period, and how far the present one differs from it.

    `ratio` is the change divided by the size of the earlier value, rounded half-even to 6 places; None if that was 0.
    `change` and `ratio` are None if a period has no value.
    """

    value: Decimal | None
    change: Decimal | None
    ratio: Decimal | None


def change_between(before: Decimal | None, now: Decimal | None) -> Change:
    """Return the change from the value of the earlier period to the present one."""
    if before is None or now is None:
        return Change(before, None, None)
    change = subtract_exactly(now, before)
    return Change(before, change, _ratio(change, abs(before)) if before else None)


def _ratio(change: Decimal, size: Decimal) -> Decimal:
    # Averages divide by whole numbers. So both numbers are scaled to whole ones first.
    places = max(0, -int(size.as_tuple().exponent))
    return average(change.scaleb(places), int(size.scaleb(places)))


def earlier_period(asked: Asked, comparison: Comparison) -> Asked:
    """Return the period that a period is compared with.

    - PREVIOUS_PERIOD: as many months before it if it consists of whole months, else as many days if it consists of whole
      days, else the same length of time.
    - SAME_PERIOD_LAST_YEAR: the same local dates and times one year earlier; of February 29, those of February 28.
    """
    days = days_of(asked.zone)
    first, after = days.day_of(asked.from_ms), days.day_of(asked.to_ms)
    length_ms = asked.to_ms - asked.from_ms
    if comparison is Comparison.SAME_PERIOD_LAST_YEAR:
        start_ms, end_ms = _year_before(days, asked.from_ms), _end_year_before(days, asked.to_ms)
        # A part of February 29 may turn round, because that day and the one before it have the same date a year earlier.
        return replace(asked, from_ms=start_ms, to_ms=end_ms if end_ms > start_ms else start_ms + length_ms)
    if (days.start_ms(first), days.start_ms(after)) != (asked.from_ms, asked.to_ms):
        return replace(asked, from_ms=asked.from_ms - length_ms, to_ms=asked.from_ms)
    if first.day == after.day == 1:
        months = (after.year - first.year) * 12 + after.month - first.month
        start = add_periods(first, PeriodUnit.MONTH, -months)
    else:
        start = first - (after - first)
    return replace(asked, from_ms=days.start_ms(start), to_ms=asked.from_ms)


def _end_year_before(days: Days, at_ms: int) -> int:
    """Return the end of the earlier period. The start of February 29 is the end of February 28, and stays that."""
    day = days.day_of(at_ms)
    is_end_of_28 = (day.month, day.day) == (2, 29) and at_ms == days.start_ms(day)
    return days.start_ms(date(day.year - 1, 3, 1)) if is_end_of_28 else _year_before(days, at_ms)


def _year_before(days: Days, at_ms: int) -> int:
    day = days.day_of(at_ms)
    is_leap_day = (day.month, day.day) == (2, 29)
    before = date(day.year - 1, 2, 28) if is_leap_day else day.replace(year=day.year - 1)
    start_ms, last_ms = days.start_ms(before), days.start_ms(before + timedelta(days=1)) - 1
    if at_ms == days.start_ms(day):
        return start_ms
    # The clock may change on one of the two days, so the same time is not the same length after the start of the day.
    local_ms = days.local_ms(at_ms) - (day - before).days * DAY_MS
    found = [local_ms - days.local_ms(edge_ms) + edge_ms for edge_ms in (start_ms, last_ms)]
    # A time that the clock skipped is counted as if the clock had not changed yet.
    existing = [each for each in found if days.local_ms(each) == local_ms]
    return max(start_ms, min(existing[0] if existing else found[0], last_ms))


def comparable_key(key: Key, group_by: Sequence[GroupBy], asked: Asked) -> tuple[str | int | None, ...]:
    """Return the key of a group, with periods as their numbers in the period that is asked for, from 0.

    So the third day of a month is compared with the third day of the month before.
    """
    days = days_of(asked.zone)
    found: list[str | int | None] = []
    for value, by in zip(key, (*group_by, *[None] * (len(key) - len(group_by))), strict=True):
        if by is not None and isinstance(value, datetime):
            unit = PeriodUnit(PERIODS[by])
            first, _ = period_days(days.day_of(asked.from_ms), unit, asked.week_start)
            found.append(_number(unit, days.day_of(to_ms(value))) - _number(unit, first))
        else:
            assert not isinstance(value, datetime)
            found.append(value)
    return tuple(found)


def _number(unit: PeriodUnit, first: date) -> int:
    """Return the number of the period that begins on a day: those of two periods in a row differ by 1."""
    match unit:
        case PeriodUnit.DAY:
            return first.toordinal()
        case PeriodUnit.WEEK:
            return first.toordinal() // 7
        case PeriodUnit.MONTH:
            return first.year * 12 + first.month
        case PeriodUnit.QUARTER:
            return (first.year * 12 + first.month - 1) // 3
    return first.year
