"""Sizes of a segment over time, from the entries and exits of each UTC day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from app.domain.errors import Code, InvalidInput
from app.domain.values.instants import utc_midnight
from app.domain.values.periods import PeriodUnit, period_days

MAX_SIZES = 400
"""Periods of one answer."""
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class DayCounts:
    """Entries into a segment and exits from it."""

    entered: int = 0
    left: int = 0

    def plus(self, other: DayCounts) -> DayCounts:
        """Return the sum of both."""
        return DayCounts(self.entered + other.entered, self.left + other.left)


@dataclass(frozen=True, slots=True)
class Size:
    """A period that begins at `at`: the members at its end, and the entries and exits in it."""

    at: datetime
    count: int
    entered: int
    left: int


def periods_between(
    start: datetime, end: datetime, unit: PeriodUnit, *, now: datetime, week_start: int = 0
) -> list[tuple[date, date]]:
    """Return the UTC periods that begin before `end`, from the one that contains `start`: [first day, day after the last).

    `week_start` is the weekday on which weeks begin, from 0 (Monday) to 6 (Sunday).
    Periods that begin after `now` are left out, because their sizes are unknown.
    Raises InvalidInput: INVALID if the end does not lie after the start, OUT_OF_RANGE for more than 400 periods.
    """
    if end <= start:
        raise InvalidInput(Code.INVALID, "`to` must lie after `from`.", "to")
    found: list[tuple[date, date]] = []
    period = period_days(start.astimezone(UTC).date(), unit, week_start)
    while utc_midnight(period[0]) < end and utc_midnight(period[0]) <= now:
        found.append(period)
        if len(found) > MAX_SIZES:
            message = f"At most {MAX_SIZES} periods fit into one answer. Give a longer `unit`, or a shorter time."
            raise InvalidInput(Code.OUT_OF_RANGE, message, "unit")
        period = period_days(period[1], unit, week_start)
    return found


def sizes_of(periods: list[tuple[date, date]], before: int, days: Mapping[date, DayCounts]) -> list[Size]:
    """Return the size of each period. `before` is the number of members when the first one begins."""
    sizes, count = [], before
    for first, after in periods:
        total, day = DayCounts(), first
        while day < after:
            total, day = total.plus(days.get(day, DayCounts())), day + _ONE_DAY
        count += total.entered - total.left
        sizes.append(Size(utc_midnight(first), count, entered=total.entered, left=total.left))
    return sizes
