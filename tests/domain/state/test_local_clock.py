"""Days of the week and hours of the day in local time."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from app.domain.state.local_clock import clock_coordinate, local_clock, read_coordinate
from app.domain.values.instants import to_ms


def test_coordinates_sort_by_time_and_are_read_back() -> None:
    slots = [(day, hour) for day in (None, *range(7)) for hour in (None, *range(24)) if (day, hour) != (None, None)]
    assert [read_coordinate(clock_coordinate(*slot)) for slot in slots] == slots
    both = [clock_coordinate(day, hour) for day in range(7) for hour in range(24)]
    assert both == sorted(both)


def test_weekday_and_hour_follow_the_clocks_of_the_zone() -> None:
    at = to_ms(datetime.fromisoformat("2025-03-30T01:30:00+00:00"))
    assert local_clock(at, ZoneInfo("Europe/Berlin")) == (6, 3)
    assert local_clock(at, ZoneInfo("America/New_York")) == (5, 21)
    assert local_clock(at, ZoneInfo("Asia/Kolkata")) == (6, 7)
