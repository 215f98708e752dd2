"""Calendar periods of a time zone: the day, week, month, quarter or year that contains an instant, and those after it."""

from __future__ import annotations

from datetime import date, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from .zones import days_of


class PeriodUnit(StrEnum):
    """Calendar period in the time zone of a definition."""

    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    QUARTER = "QUARTER"
    YEAR = "YEAR"


class Weekday(StrEnum):
    """Day of the week."""

    MONDAY = "MONDAY"
    TUESDAY = "TUESDAY"
    WEDNESDAY = "WEDNESDAY"
    THURSDAY = "THURSDAY"
    FRIDAY = "FRIDAY"
    SATURDAY = "SATURDAY"
    SUNDAY = "SUNDAY"


def period_start_ms(unit: PeriodUnit, zone: ZoneInfo, at_ms: int) -> int:
    """Return the first instant of the calendar period that contains an instant."""
    days = days_of(zone)
    return days.start_ms(period_days(days.day_of(at_ms), unit)[0])


def period_end_ms(unit: PeriodUnit, plus: int, zone: ZoneInfo, at_ms: int) -> int:
    """Return the first instant after the calendar period that is `plus` periods after the one that contains an instant.

    `plus` is 0 or more. 0 gives the end of the period that contains the instant.
    """
    days = days_of(zone)
    _, after = period_days(days.day_of(at_ms), unit)
    return days.start_ms(add_periods(after, unit, plus))


def days_end_ms(count: int, zone: ZoneInfo, at_ms: int) -> int:
    """Return the local midnight at which the day begins that is `count` days after the day that contains an instant."""
    days = days_of(zone)
    return days.start_ms(days.day_of(at_ms) + timedelta(days=count))


def period_days(day: date, unit: PeriodUnit, week_start: int = 0) -> tuple[date, date]:
    """Return the first day of the period that contains a day, and the first day after the period.

    `week_start` is the weekday on which weeks begin, from 0 (Monday) to 6 (Sunday).
    """
    match unit:
        case PeriodUnit.DAY:
            first = day
        case PeriodUnit.WEEK:
            first = day - timedelta(days=(day.weekday() - week_start) % 7)
        case PeriodUnit.MONTH:
            first = day.replace(day=1)
        case PeriodUnit.QUARTER:
            first = day.replace(day=1, month=(day.month - 1) // 3 * 3 + 1)
        case PeriodUnit.YEAR:
            first = day.replace(day=1, month=1)
    return first, add_periods(first, unit, 1)


def add_periods(first: date, unit: PeriodUnit, count: int) -> date:
    """Return the first day of the period that is `count` periods after the one that begins on `first`."""
    match unit:
        case PeriodUnit.DAY:
            return first + timedelta(days=count)
        case PeriodUnit.WEEK:
            return first + timedelta(days=7 * count)
        case PeriodUnit.YEAR:
            return first.replace(year=first.year + count)
    months = first.year * 12 + first.month - 1 + count * (3 if unit is PeriodUnit.QUARTER else 1)
    return first.replace(year=months // 12, month=months % 12 + 1)
