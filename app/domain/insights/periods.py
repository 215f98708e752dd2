"""Period of a question about all customers: part of the time, in a time zone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from app.domain.errors import Code, InvalidInput
from app.domain.values.instants import DAY_MS
from app.domain.values.periods import PeriodUnit, add_periods, period_days
from app.domain.values.zones import days_of

MAX_PERIOD_DAYS = 3660
"""Days of the longest period that one question is about: ten years."""
_MONTH = re.compile(r"(19\d\d|20\d\d|21\d\d)-(0[1-9]|1[0-2])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Asked:
    """Period that a question is about: the instants from `from_ms` to before `to_ms`, and the calendar of its days.

    `week_start` is a weekday from 0 (Monday) to 6 (Sunday).
    """

    from_ms: int
    to_ms: int
    zone: ZoneInfo
    week_start: int = 0


def check_length(asked: Asked, *path: str) -> Asked:
    """Return the period unchanged. Raises InvalidInput: OUT_OF_RANGE for more than 3,660 days."""
    # A zone may have moved its clocks back meanwhile, so one more day is allowed.
    if asked.to_ms - asked.from_ms > (MAX_PERIOD_DAYS + 1) * DAY_MS:
        message = f"The period has more than {MAX_PERIOD_DAYS:,} days. Ask for at most ten years, or for parts."
        raise InvalidInput(Code.OUT_OF_RANGE, message, *path)
    return asked


def parse_month(raw: object, zone: ZoneInfo, week_start: int, *path: str) -> Asked:
    """Return the month of a text such as "2025-01". Raises InvalidInput: INVALID for any other text."""
    found = _MONTH.fullmatch(raw) if isinstance(raw, str) else None
    if found is None:
        raise InvalidInput(Code.INVALID, 'Write the month as "2025-01", in the years 1900 to 2199.', *path)
    first, days = date(int(found[1]), int(found[2]), 1), days_of(zone)
    after = add_periods(first, PeriodUnit.MONTH, 1)
    return Asked(days.start_ms(first), days.start_ms(after), zone, week_start=week_start)


def split_period(asked: Asked, unit: PeriodUnit, limit: int, *path: str) -> list[tuple[int, int]]:
    """Return the calendar periods that a period consists of, as [start, end) in ms. The first and last may be parts.

    Days that the zone skipped are left out. Raises InvalidInput: OUT_OF_RANGE for more than `limit` periods.
    """
    found: list[tuple[int, int]] = []
    for start_ms, end_ms in _iter_periods(asked, unit):
        if len(found) == limit:
            message = f"At most {limit} periods fit into one answer. Give a longer unit, or a shorter time."
            raise InvalidInput(Code.OUT_OF_RANGE, message, *path)
        found.append((start_ms, end_ms))
    return found


def _iter_periods(asked: Asked, unit: PeriodUnit) -> Iterator[tuple[int, int]]:
    days = days_of(asked.zone)
    first, after = period_days(days.day_of(asked.from_ms), unit, asked.week_start)
    while (start_ms := days.start_ms(first)) < asked.to_ms:
        end_ms = days.start_ms(after)
        if end_ms > start_ms:
            yield max(start_ms, asked.from_ms), min(end_ms, asked.to_ms)
        first, after = after, add_periods(after, unit, 1)
