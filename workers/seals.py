"""Sealing of one worker: when it looks at which workspace, and what its last looks found. All of it is only in memory.

Whatever marks hours notes their workspace here, so a worker looks at the store only where something has changed. If a
note is lost, the sweep finds the workspace by its dirty heads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from app.domain.rollups.sealing import DirtyNotes, SealTask, Timing
from app.domain.values.instants import HOUR_MS

RETRY_SECONDS = 60.0
"""The time after which a worker looks again at a workspace where sealing has failed."""


@dataclass
class SealLap:
    """Sealing of one workspace: its notes, the tasks of the last look, and how many of them have sealed something.

    `newest_ms` is the newest hour that was noted, and `open_hour_ms` the one whose marks need no other look before its end.
    `near_ms` is the oldest period that the last look has read, if there were more than it reads; else None. `is_cut` says
    whether the last run has ended before its tasks, because other workspaces had their turn.
    """

    notes: DirtyNotes = field(default_factory=DirtyNotes)
    tasks: list[SealTask] = field(default_factory=list)
    sealed: int = 0
    began_at: float = 0.0
    looked_at: float = -math.inf
    newest_ms: int | None = None
    open_hour_ms: int | None = None
    near_ms: int | None = None
    is_cut: bool = False


class Seals:
    """The workspaces with dirty hours that this worker has noted. `now_seconds` is a clock that never goes back."""

    def __init__(self, now_seconds: Callable[[], float] = time.monotonic) -> None:
        self.timing = Timing()
        self.now_seconds = now_seconds
        self._due_at: dict[str, float] = {}
        self._laps: dict[str, SealLap] = {}

    def lap(self, workspace_id: str) -> SealLap:
        """Return the lap of a workspace."""
        return self._laps.setdefault(workspace_id, SealLap())

    def note_marked(self, hours: Iterable[tuple[str, int]]) -> None:
        """Note marked hours: workspace id, and first instant in milliseconds.

        The hour that has not ended is marked at each round of the fold. It is noted once.
        """
        for workspace_id, start_ms in hours:
            lap = self.lap(workspace_id)
            if lap.open_hour_ms != start_ms:
                lap.newest_ms = start_ms if lap.newest_ms is None else max(lap.newest_ms, start_ms)
                self.schedule(workspace_id, self.timing.quiet)

    def schedule(self, workspace_id: str, seconds: float) -> None:
        """Look at a workspace after so many seconds, or earlier if that is scheduled already."""
        due_at = self.now_seconds() + seconds
        self._due_at[workspace_id] = min(due_at, self._due_at.get(workspace_id, due_at))

    def is_scheduled(self, workspace_id: str) -> bool:
        """Return whether a look at the workspace is scheduled."""
        return workspace_id in self._due_at

    def note_dirty(self, workspace_id: str) -> None:
        """Note a workspace that the sweep has found by its dirty heads. A look of the last minute has seen them."""
        if self.lap(workspace_id).looked_at + RETRY_SECONDS <= self.now_seconds():
            self.schedule(workspace_id, 0.0)

    def large_workspaces(self) -> list[str]:
        """Return the workspaces in which a look of the last minute has found more dirty periods than it reads."""
        since = self.now_seconds() - RETRY_SECONDS
        return [each for each, lap in self._laps.items() if lap.near_ms is not None and lap.looked_at > since]

    def take_due(self) -> str | None:
        """Return the workspace whose look is overdue for the longest time, and forget its schedule; None if none is due."""
        now = self.now_seconds()
        at, workspace_id = min(((at, each) for each, at in self._due_at.items()), default=(math.inf, ""))
        if at > now:
            return None
        del self._due_at[workspace_id]
        return workspace_id

    def begin_look(self, workspace_id: str) -> SealLap:
        """Return the lap of a workspace for a look, which finds all that was noted before. It is repeated if it fails."""
        lap = self.lap(workspace_id)
        lap.looked_at = self.now_seconds()
        self._due_at[workspace_id] = lap.looked_at + RETRY_SECONDS
        return lap

    def end_look(self, workspace_id: str, wait_seconds: float | None) -> None:
        """Schedule the next look at a workspace after what waits, if anything does. What was noted meanwhile stays."""
        if self._due_at.get(workspace_id) == self.lap(workspace_id).looked_at + RETRY_SECONDS:
            del self._due_at[workspace_id]
        if wait_seconds is not None:
            self.schedule(workspace_id, wait_seconds)

    def hand_on(self, workspace_id: str, now_ms: int) -> None:
        """Note that another worker looks at a workspace. It needs no other note of an hour that ends after `now_ms`."""
        lap = self.lap(workspace_id)
        if lap.newest_ms is not None and lap.newest_ms + HOUR_MS > now_ms:
            lap.open_hour_ms = lap.newest_ms

    def forget(self, workspace_id: str) -> None:
        """Drop what the last look found, because nothing is dirty, or another worker seals the workspace."""
        self._laps.pop(workspace_id, None)
