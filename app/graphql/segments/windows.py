"""Windows of time in what criteria, rules and rewards say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import strawberry

from app.domain.state.calendars import MAX_STREAK, MIN_OFFSET
from app.domain.values.instants import from_ms
from app.domain.values.periods import PeriodUnit
from app.domain.values.windows import within_dict


@strawberry.input(one_of=True)
class RollingWindow:
    """Window of time that moves with the clock, from 1 minute to 3,660 days long. Give exactly one unit."""

    days: int | None = strawberry.field(default=strawberry.UNSET, description="Length in days of 24 hours.")
    hours: int | None = strawberry.field(default=strawberry.UNSET, description="Length in hours.")
    minutes: int | None = strawberry.field(default=strawberry.UNSET, description="Length in minutes.")


@strawberry.input
class CalendarWindow:
    """Calendar period of local time, in the time zone of the definition and with the workspace's start of weeks.

    It begins and ends at local midnight: a day of 23 or 25 hours is one day.
    """

    unit: PeriodUnit = strawberry.field(description="Kind of the period.")
    offset: int = strawberry.field(
        default=0,
        description=f"Period: 0 is the present one, -1 the one before it, down to {MIN_OFFSET}. Default: 0.",
    )


@strawberry.input
class ConsecutiveUnits:
    """Streak: days, weeks or months of local time in a row, each with a matching event.

    The streak ends with the present unit or the one before it. It breaks when a unit ends without an event.
    """

    unit: PeriodUnit = strawberry.field(description="Unit: `DAY`, `WEEK` or `MONTH`.")
    at_least: int = strawberry.field(description=f"Smallest number of units in a row: 1 to {MAX_STREAK}.")


@strawberry.type
class CalendarWindowCriteria:
    """Calendar period of local time, in the time zone of the definition and with the workspace's start of weeks."""

    unit: PeriodUnit = strawberry.field(description="Kind of the period.")
    offset: int = strawberry.field(description="Period: 0 is the present one, -1 the one before it.")


@strawberry.type
class ConsecutiveUnitsCriteria:
    """Streak: days, weeks or months of local time in a row, each with a matching event."""

    unit: PeriodUnit = strawberry.field(description="Unit: `DAY`, `WEEK` or `MONTH`.")
    at_least: int = strawberry.field(description="Smallest number of units in a row.")


@strawberry.type
class RollingWindowCriteria:
    """Window of time that moves with the clock. One unit is set: the largest that gives a whole number."""

    days: int | None = strawberry.field(description="Length in days of 24 hours. Null if another unit is set.")
    hours: int | None = strawberry.field(description="Length in hours. Null if another unit is set.")
    minutes: int | None = strawberry.field(description="Length in minutes. Null if another unit is set.")


@strawberry.type
class FixedWindowCriteria:
    """Window of time between two fixed instants."""

    from_: datetime | None = strawberry.field(
        name="from", description="Start of the window, inclusive. Null means no lower bound."
    )
    to: datetime | None = strawberry.field(description="End of the window, exclusive. Null means no upper bound.")


def rolling_window_of(within_ms: int | None) -> RollingWindowCriteria | None:
    """Return the GraphQL object of a rolling window; None for no window."""
    return None if within_ms is None else rolling_window(within_dict(within_ms))


def rolling_window(units: Mapping[str, int]) -> RollingWindowCriteria:
    """Return the GraphQL object of a rolling window of days, hours or minutes."""
    return RollingWindowCriteria(days=units.get("days"), hours=units.get("hours"), minutes=units.get("minutes"))


def calendar_window(raw: Mapping[str, Any] | None) -> CalendarWindowCriteria | None:
    """Return the GraphQL object of a calendar window as criteria are stored; None for no window."""
    return None if raw is None else CalendarWindowCriteria(unit=PeriodUnit(raw["unit"]), offset=raw["offset"])


def consecutive_units(raw: Mapping[str, Any] | None) -> ConsecutiveUnitsCriteria | None:
    """Return the GraphQL object of a streak as criteria are stored; None for no streak."""
    return None if raw is None else ConsecutiveUnitsCriteria(unit=PeriodUnit(raw["unit"]), at_least=raw["atLeast"])


def fixed_window_of(start_ms: int | None, end_ms: int | None) -> FixedWindowCriteria | None:
    """Return the GraphQL object of a period; None if it has neither a start nor an end."""
    if start_ms is None and end_ms is None:
        return None
    return FixedWindowCriteria(
        from_=None if start_ms is None else from_ms(start_ms), to=None if end_ms is None else from_ms(end_ms)
    )
