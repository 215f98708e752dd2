"""Buffer of the newest entries of an activity log, in memory, bounded in number and bytes."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import orjson

from app.domain.activities import ERASED_DATA, Activity


class FeedBuffer:
    """The newest entries up to the position `pos`, without a gap between them."""

    def __init__(self, pos: int) -> None:
        self.pos = pos
        self._entries: deque[Activity] = deque()
        self._sizes: deque[int] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, activities: Sequence[Activity], max_entries: int, max_bytes: int) -> None:
        """Append the entries that follow `pos`, and drop the oldest ones beyond the limits.

        `max_bytes` limits the entries' data, as JSON. If an entry says that a pass was erased, empty the pass's entries
        in the buffer, as the log does.
        """
        for activity in activities:
            size = len(orjson.dumps(activity.data, default=str))
            self._entries.append(activity)
            self._sizes.append(size)
            self._bytes += size
        self.pos = activities[-1].position
        if erased := {activity.pass_id for activity in activities if activity.is_erasure}:
            # Without this step the buffer would still publish data to followers that the log no longer has.
            self._entries = deque(replace(a, data=ERASED_DATA) if a.pass_id in erased else a for a in self._entries)
        while len(self._entries) > max_entries or self._bytes > max_bytes:
            self._entries.popleft()
            self._bytes -= self._sizes.popleft()

    def skip_to(self, pos: int) -> None:
        """Drop all entries and continue at `pos`, because there is a gap before it."""
        self.pos = pos
        self._entries.clear()
        self._sizes.clear()
        self._bytes = 0

    def reaches(self, pos: int) -> bool:
        """Return whether the buffer holds every entry after `pos`."""
        return pos >= self.pos - len(self._entries)

    def after(self, pos: int, count: int) -> tuple[Activity, ...]:
        """Return the first `count` entries after `pos`. The buffer must reach `pos`."""
        skipped = pos - self.pos + len(self._entries)
        return tuple(itertools.islice(self._entries, skipped, skipped + count))
