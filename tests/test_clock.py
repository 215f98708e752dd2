"""The system clock, and the clock that tests set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from app.clock import FixedClock, SystemClock


async def test_system_clock_returns_utc_in_milliseconds() -> None:
    before = datetime.now(UTC)
    now = await SystemClock().now()
    assert now.tzinfo is UTC
    assert now.microsecond % 1000 == 0
    assert abs(now - before) < timedelta(seconds=5)


async def test_fixed_clock_stands_still_until_it_is_set() -> None:
    first, second = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    clock = FixedClock(first)
    assert await clock.now() == await clock.elapsed() == first
    clock.set(second)
    assert await clock.now() == await clock.elapsed() == second
