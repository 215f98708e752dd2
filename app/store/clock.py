"""The manual business clock: one document, moved forward by `punchcard clock set`, the same for every process."""

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
    """Stands still at the stored instant; at 1970-01-01T00:00:00Z until it is first set."""

    def __init__(self, db: Database) -> None:
        self._clock = db["clock"]

    async def now(self) -> datetime:
        """The instant the clock stands at. Raises Unavailable; safe to repeat."""
        instant, _ = await self._read()
        return instant

    async def elapsed(self) -> datetime:
        """The instant the clock stands at once it has stood there for 2 real seconds; until then, 1 ms before it.

        Raises Unavailable; safe to repeat.
        """
        instant, moved_at = await self._read()
        settled = datetime.now(UTC) - moved_at >= MANUAL_CLOCK_DELAY
        return instant if settled else instant - timedelta(milliseconds=1)

    async def set(self, instant: datetime) -> datetime:
        """The instant the clock stands at from now on: the given one, cut to milliseconds.

        Raises InvalidInput for an instant before the one it stands at, and Unavailable; safe to repeat.
        """
        instant = truncate(instant)
        at_rest = {"now": EPOCH, "moved_at": EPOCH}
        moved = {"now": instant, "moved_at": truncate(datetime.now(UTC))}
        with contextlib.suppress(DuplicateKeyError):
            await self._clock.update_one({"_id": "clock"}, {"$setOnInsert": at_rest}, upsert=True)
        # Where the clock already stands there, its time of arrival is kept: repeating does not unsettle it.
        await self._clock.update_one({"_id": "clock", "now": {"$lt": instant}}, {"$set": moved})
        standing = await self.now()
        if standing > instant:
            raise InvalidInput(
                Code.OUT_OF_RANGE, f"The clock stands at {format_instant(standing)} and only moves forward.", "instant"
            )
        return standing

    async def _read(self) -> tuple[datetime, datetime]:
        found = await self._clock.find_one({"_id": "clock"})
        return (found["now"], found["moved_at"]) if found else (EPOCH, EPOCH)
