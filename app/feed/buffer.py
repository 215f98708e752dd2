"""The newest entries of a log, in memory: as many and as large as may be kept."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import orjson

from app.domain.activities import EMPTIED, Activity


class FeedBuffer:
    """The last entries up to `pos`, without a gap between them."""

    def __init__(self, pos: int) -> None:
        self.pos = pos
        self._entries: deque[Activity] = deque()
        self._sizes: deque[int] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def take(self, found: Sequence[Activity], most: int, most_bytes: int) -> None:
        """Adds what follows, and lets go of the oldest: beyond so many, or so many bytes of data as JSON.

        Where a pass is erased, what is here of it is emptied as it is in the log.
        """
        for activity in found:
            size = len(orjson.dumps(activity.data, default=str))
            self._entries.append(activity)
            self._sizes.append(size)
            self._bytes += size
        self.pos = found[-1].position
        if erased := {activity.pass_id for activity in found if activity.erases}:
            # Whoever follows from an earlier position is not told from memory what the log no longer says.
            self._entries = deque(replace(a, data=EMPTIED) if a.pass_id in erased else a for a in self._entries)
        while len(self._entries) > most or self._bytes > most_bytes:
            self._entries.popleft()
            self._bytes -= self._sizes.popleft()

    def skip_to(self, pos: int) -> None:
        """Lets go of everything: what lies before `pos` has a gap."""
        self.pos = pos
        self._entries.clear()
        self._sizes.clear()
        self._bytes = 0

    def reaches(self, pos: int) -> bool:
        """Whether everything that follows `pos` is here."""
        return pos >= self.pos - len(self._entries)

    def after(self, pos: int, count: int) -> tuple[Activity, ...]:
        """The first `count` entries that follow a position that is reached."""
        skipped = pos - self.pos + len(self._entries)
        return tuple(itertools.islice(self._entries, skipped, skipped + count))
