"""Levels of rollups: the hours, days and months of UTC that contain an instant."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.domain.rollups.levels import Level
from app.domain.values.instants import from_ms, to_ms


@pytest.mark.parametrize(
    ("level", "start", "end"),
    [
        (Level.HOUR, datetime(2024, 2, 29, 13, tzinfo=UTC), datetime(2024, 2, 29, 14, tzinfo=UTC)),
        (Level.DAY, datetime(2024, 2, 29, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)),
        (Level.MONTH, datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)),
    ],
)
def test_period_of_a_level_contains_its_instants(level: Level, start: datetime, end: datetime) -> None:
    at_ms = to_ms(datetime(2024, 2, 29, 13, 45, tzinfo=UTC))
    assert from_ms(level.start_ms(at_ms)) == start
    assert from_ms(level.end_ms(to_ms(start))) == end


def test_months_and_hours_before_1970_begin_at_their_first_instant() -> None:
    at_ms = to_ms(datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC))
    assert from_ms(Level.MONTH.start_ms(at_ms)) == datetime(1969, 12, 1, tzinfo=UTC)
    assert from_ms(Level.HOUR.start_ms(at_ms)) == datetime(1969, 12, 31, 23, tzinfo=UTC)
