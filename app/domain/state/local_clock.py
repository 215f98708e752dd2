"""Days of the week and hours of the day of events in local time, as coordinates of groups.

A coordinate is text whose order is that of time: "0" (Monday) to "6" for weekdays, "00" to "23" for hours, and texts such as
"0 00" for both.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo

from app.domain.values.instants import HOUR_MS
from app.domain.values.zones import days_of


def clock_coordinate(weekday: int | None, hour: int | None) -> str:
    """Return the coordinate of a weekday from 0 (Monday), an hour of the day, or both."""
    parts = ("" if weekday is None else str(weekday), "" if hour is None else f"{hour:02}")
    return " ".join(part for part in parts if part)


def read_coordinate(coordinate: str) -> tuple[int | None, int | None]:
    """Return the weekday and the hour of a coordinate; None for the one that it does not have."""
    *weekday, last = coordinate.split(" ")
    if weekday:
        return int(weekday[0]), int(last)
    return (int(last), None) if len(last) == 1 else (None, int(last))


def local_clock(at_ms: int, zone: ZoneInfo) -> tuple[int, int]:
    """Return the weekday and the hour of the day at an instant."""
    days = days_of(zone)
    return days.day_of(at_ms).weekday(), days.local_ms(at_ms) // HOUR_MS % 24
