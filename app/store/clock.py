"""The manual business clock: one document that `punchcard clock set` moves forward, the same for every process."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

from pymongo.errors import DuplicateKeyError

from app.domain.errors import Code, InvalidInput
from app.domain.values.instants import EPOCH, format_instant, truncate
from app.store.mongo.queries import Database, ErrorTranslating

MANUAL_CLOCK_DELAY = timedelta(seconds=2)
"""How long, in real time, the clock must have stood at an instant before that instant counts as over."""


class MongoClock(ErrorTranslating):
    """Clock that stands still at the stored instant; at 1970-01-01T00:00:00Z until it is first set."""

    def __init__(self, db: Database) -> None:
        self._clock = db["clock"]

    async def now(self) -> datetime:
        """Return the instant at which the clock stands. Raises Unavailable; safe to repeat."""
        instant, _ = await self._read()
        return instant

    async def elapsed(self) -> datetime:
        """Return the instant at which the clock has stood for 2 real seconds; until then, 1 ms before it.

        Raises Unavailable; safe to repeat.
        """
        instant, moved_at = await self._read()
        is_over = datetime.now(UTC) - moved_at >= MANUAL_CLOCK_DELAY
        return instant if is_over else instant - timedelta(milliseconds=1)

    async def set(self, instant: datetime) -> datetime:
        """Move the clock forward to an instant, truncated to milliseconds, and return that instant.

        Raises InvalidInput if the clock stands at a later instant. Raises Unavailable; safe to repeat.
        """
        instant = truncate(instant)
        initial = {"now": EPOCH, "moved_at": EPOCH}
        moved = {"now": instant, "moved_at": truncate(datetime.now(UTC))}
        with contextlib.suppress(DuplicateKeyError):
            await self._clock.update_one({"_id": "clock"}, {"$setOnInsert": initial}, upsert=True)
        # If the clock already stands at the instant, keep `moved_at`: a repeated call must not restart the delay.
        await self._clock.update_one({"_id": "clock", "now": {"$lt": instant}}, {"$set": moved})
        current = await self.now()
        if current > instant:
            raise InvalidInput(
                Code.OUT_OF_RANGE,
                f"The clock stands at {format_instant(current)} and only moves forward; choose a later instant.",
                "instant",
            )
        return current

    async def _read(self) -> tuple[datetime, datetime]:
        found = await self._clock.find_one({"_id": "clock"})
        return (found["now"], found["moved_at"]) if found else (EPOCH, EPOCH)
