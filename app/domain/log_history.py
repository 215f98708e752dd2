"""History of an activity log beside its growth: restores from a backup, and truncations of its front.

After a restore, the log grows again from the end of the backup. Positions and numbers of lost activities are used again
for others. An *epoch* distinguishes the two: activities that are published after the restore belong to the new epoch. The
first epoch is the empty text and adds nothing to ids and cursors.
"""

from __future__ import annotations

from dataclasses import dataclass

from .activities import NO_EPOCH
from .values.cursors import FeedCursor


@dataclass(frozen=True, slots=True)
class Restore:
    """Restore of the log from a backup whose last position was `position`. Later activities belong to `epoch`."""

    epoch: str
    position: int


@dataclass(frozen=True, slots=True)
class LogHistory:
    """Restores of one workspace's log, the oldest first, and its front: activities up to `front` were truncated."""

    restores: tuple[Restore, ...] = ()
    front: int = 0

    @property
    def epoch(self) -> str:
        """Epoch of activities that are published now."""
        return self.restores[-1].epoch if self.restores else NO_EPOCH

    def cursor_at(self, position: int) -> FeedCursor:
        """Return the cursor of a position of the log."""
        for restore in reversed(self.restores):
            if position > restore.position:
                return FeedCursor(position, restore.epoch)
        return FeedCursor(position, NO_EPOCH)

    def find_resume(self, cursor: FeedCursor) -> int | None:
        """Return the position at which a reader has to continue instead; None if the cursor is valid.

        A reader has read up to the cursor in its epoch. What the backup contains of that epoch is unchanged. So the
        cursor is valid unless it lies behind the end of the backup: then the reader continues at that end. The epoch
        of a database that was replaced meanwhile is unknown here. Such a reader begins at the front.
        """
        epochs = [NO_EPOCH, *(restore.epoch for restore in self.restores)]
        if cursor.epoch not in epochs:
            return self.front
        later = self.restores[epochs.index(cursor.epoch) :]
        position = min([cursor.position, *(restore.position for restore in later)])
        position = max(position, self.front)
        return None if position == cursor.position else position
