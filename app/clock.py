"""The business clock, as everything outside the domain sees it. The domain itself is only ever told an instant.

Leases, retries, rate limits and expiry of keys are about machines, not about business, and never use this clock.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

from app.domain.values.instants import truncate


class Clock(Protocol):
    """Tells the business time: aware UTC instants, truncated to milliseconds."""

    async def now(self) -> datetime:
        """The current instant. Raises Unavailable where the clock is kept in a store that does not answer."""

    async def elapsed(self) -> datetime:
        """The last instant that is entirely over, at most `now`: verdicts may flip by time alone up to it.

        A manual clock that was just moved to an instant has not finished with it: events of that very instant
        may still arrive, and must be counted before time flips anything there.
        """


class SystemClock:
    """The machine's own clock."""

    async def now(self) -> datetime:
        """The current instant; never raises."""
        return truncate(datetime.now(UTC))

    async def elapsed(self) -> datetime:
        """The same as `now`: real time does not stand still."""
        return await self.now()


def system_ms() -> int:
    """Milliseconds since 1970 by the machine's own clock."""
    return time.time_ns() // 1_000_000


class FixedClock:
    """A clock that stands still until it is set: for tests and for replaying history in one process."""

    def __init__(self, instant: datetime) -> None:
        self._instant = truncate(instant)

    def set(self, instant: datetime) -> None:
        """Moves the clock to the instant, forwards or back."""
        self._instant = truncate(instant)

    async def now(self) -> datetime:
        """The instant it was last set to; never raises."""
        return self._instant

    async def elapsed(self) -> datetime:
        """The same as `now`: who sets this clock also decides when its events are in."""
        return self._instant
