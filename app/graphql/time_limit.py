"""Time limit of one operation, which does not run while the operation stores an uploaded file."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator


class TimeLimit:
    """Time limit of one operation. Create it when the operation begins."""

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + seconds
        self._timeout: asyncio.Timeout | None = None
        self._is_lifted = False

    @contextlib.asynccontextmanager
    async def apply(self) -> AsyncIterator[None]:
        """Cancel the block at the deadline. Raises TimeoutError then."""
        async with asyncio.timeout_at(self._deadline) as timeout:
            self._timeout = timeout
            try:
                yield
            finally:
                self._timeout = None

    @contextlib.contextmanager
    def lift(self) -> Iterator[None]:
        """Stop the clock of the limit while the block runs."""
        began = self._loop.time()
        self._is_lifted = True
        self._reschedule(None)
        try:
            yield
        finally:
            self._is_lifted = False
            self._deadline += self._loop.time() - began
            self._reschedule(self._deadline)

    def remaining_seconds(self) -> float | None:
        """Return the time that is left, or None while the limit is lifted."""
        return None if self._is_lifted else self._deadline - self._loop.time()

    def expire(self) -> None:
        """Cancel the block now, as at the deadline."""
        self._reschedule(self._loop.time())

    def _reschedule(self, when: float | None) -> None:
        # A timeout that has expired is cancelling the operation, and cannot be rescheduled.
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(when)
