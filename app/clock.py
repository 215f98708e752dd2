"""The business clock for everything outside the domain. Functions of the domain receive instants as arguments.

Leases, retries, rate limits and the expiry of keys use system time, never this clock.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

from app.domain.values.instants import truncate


class Clock(Protocol):
    """Source of the business time: aware UTC instants, truncated to milliseconds."""

    async def now(self) -> datetime:
        """Return the current instant. Raises Unavailable if the clock is stored and the store does not answer."""

    async def elapsed(self) -> datetime:
        """Return the last instant that is entirely over, at most `now`.

        Transitions by time alone may happen up to this instant. Events may still arrive at the instant to which a
        manual clock was just moved. They must count before time alone changes a result at that instant.
        """


class SystemClock:
    """Clock of the machine."""

    async def now(self) -> datetime:
        """Return the current instant. Never raises."""
        return truncate(datetime.now(UTC))

    async def elapsed(self) -> datetime:
        """Return the same as `now`: real time does not stand still."""
        return await self.now()


def system_ms() -> int:
    """Return the milliseconds since 1970 by the clock of the machine."""
    return time.time_ns() // 1_000_000


class FixedClock:
    """Clock that stands still until it is set, for tests and for replaying history in one process."""

    def __init__(self, instant: datetime) -> None:
        self._instant = truncate(instant)

    def set(self, instant: datetime) -> None:
        """Move the clock to the instant, forwards or back."""
        self._instant = truncate(instant)

    async def now(self) -> datetime:
        """Return the instant of the last `set`. Never raises."""
        return self._instant

    async def elapsed(self) -> datetime:
        """Return the same as `now`.

        The caller that sets this clock decides when all events of an instant are recorded.
        """
        return self._instant
