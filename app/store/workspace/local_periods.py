"""Periods of UTC and of local time, as expressions that the store computes for each event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from app.domain.state.statistics import Period
from app.domain.values.instants import EARLIEST, from_ms, to_ms
from app.domain.values.zones import OffsetChange, days_of
from app.store.mongo.queries import Doc

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def cell_start(width_ms: int) -> Doc:
    """Return the expression for the first instant of an event's cell of UTC. The width is an hour or divides it.

    The time is cut as a number, because not every store has `$dateTrunc`, and `secantusd-rs` subtracts no dates. The
    remainder is that of the time since an instant before all events, so it is not negative.
    """
    at: Doc = {"$toLong": "$occurred_at"}
    return {"$toDate": {"$subtract": [at, {"$mod": [{"$subtract": [at, to_ms(EARLIEST)]}, width_ms]}]}}


def local_time(zone: ZoneInfo, low_ms: int, high_ms: int) -> Any:
    """Return the expression for the local time of an event that occurred in [low_ms, high_ms), as if it were UTC."""
    offset = _offset_expression(days_of(zone).offsets(low_ms, high_ms))
    shift = {"startDate": "$occurred_at", "unit": "millisecond", "amount": offset}
    return "$occurred_at" if offset == 0 else {"$dateAdd": shift}


def local_period_start(period: Period, zone: ZoneInfo, low_ms: int, high_ms: int, week_start: int = 0) -> Doc:
    """Return the expression for the first day of the local period of an event, as a midnight of UTC.

    `week_start` is a weekday from 0 (Monday) to 6 (Sunday).
    """
    # The store cuts local time without a time zone. With one, a store fails where a midnight does not exist.
    cut: Doc = {"date": local_time(zone, low_ms, high_ms), "unit": period.value.lower()}
    if period is Period.WEEK:
        cut["startOfWeek"] = _WEEKDAYS[week_start]
    return {"$dateTrunc": cut}


def _offset_expression(changes: Sequence[OffsetChange]) -> Any:
    """Return the expression for the offset of an event's instant, in ms: a tree of comparisons, as low as possible."""
    if len(changes) == 1:
        return changes[0].offset_ms
    middle = len(changes) // 2
    earlier, later = _offset_expression(changes[:middle]), _offset_expression(changes[middle:])
    return {"$cond": [{"$lt": ["$occurred_at", from_ms(changes[middle].at_ms)]}, earlier, later]}
