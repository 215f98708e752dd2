"""Order and delays of sealing: which dirty hours, days and months a worker seals now, and when it looks again.

An hour that has not ended is not sealed: it changes with each event. An hour that ended lately is sealed within half a
minute. Older hours change together, with an import or a removal of past events. They wait until that has ended.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from app.domain.values.instants import DAY_MS, HOUR_MS

from .levels import Level

RECENT_MS = DAY_MS
"""Age up to which an hour counts as one that ended lately. Events that arrive late for a reason are rarely older."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Delays of sealing, in seconds.

    - `quiet`, `limit`: an hour that ended lately is sealed once its mark is unchanged for `quiet`, or at the latest after
      `limit`.
    - `old_quiet`, `old_limit`: the same for older hours; `old_quiet` asks that no older hour of the workspace changes.
    - `waits_for_end`: whether an hour that has not ended is left.
    - `slice`: the time after which the next workspace has its turn.
    """

    quiet: float = 5.0
    limit: float = 30.0
    old_quiet: float = 10.0
    old_limit: float = 3_600.0
    waits_for_end: bool = True
    slice: float = 2.0


AT_ONCE = Timing(quiet=0.0, limit=0.0, old_quiet=0.0, old_limit=0.0, waits_for_end=False, slice=math.inf)
"""Seals all that is dirty at each look, in tests and benchmarks."""


class DirtyPeriod(NamedTuple):
    """Period whose content may differ from its events, and its mark."""

    level: Level
    start_ms: int
    mark: int


class SealTask(NamedTuple):
    """One step of sealing: these hours of a day and then the day, or a month."""

    level: Level
    start_ms: int
    hours: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SealPlan:
    """What a look found: tasks, newest first, and the seconds until an hour that waits is ready; None if no hour waits.

    `open_hour_ms` is the first instant of the newest hour that has not ended; None if no such hour is dirty.
    """

    tasks: Sequence[SealTask]
    wait_seconds: float | None
    open_hour_ms: int | None


class _Note(NamedTuple):
    """Mark of a dirty hour, with the seconds at which a look found the hour dirty first, and this mark first."""

    mark: int
    since: float
    changed: float


class DirtyNotes:
    """What the looks at one workspace found, so that the next look sees what has changed.

    They are only in memory. A worker that takes the workspace over begins anew, and seals a little later.
    """

    def __init__(self) -> None:
        self._notes: dict[int, _Note] = {}
        self._cut_ms: int | None = None
        self._old_changed = -math.inf

    def plan(
        self,
        dirty: Collection[DirtyPeriod],
        now_ms: int,
        seconds: float,
        timing: Timing,
        *,
        cut_ms: int | None = None,
    ) -> SealPlan:
        """Return what to seal now. `now_ms` is the business time, `seconds` a clock that never goes back.

        `cut_ms` is the beginning of the oldest period in `dirty`, if there are more. At the next call, hours before it do
        not wait because they are new to it: they wait as long as the older hours that were known.
        """
        hours = {each.start_ms: each.mark for each in dirty if each.level is Level.HOUR}
        self._notes = {start_ms: self._note(start_ms, mark, seconds) for start_ms, mark in hours.items()}
        open_hours = {start_ms for start_ms in hours if timing.waits_for_end and start_ms + HOUR_MS > now_ms}
        old = {start_ms for start_ms in hours if start_ms + HOUR_MS + RECENT_MS <= now_ms}
        old_changed = max((self._notes[start_ms].changed for start_ms in old), default=-math.inf)
        self._cut_ms, self._old_changed = cut_ms, old_changed
        waits = [(start_ms + HOUR_MS - now_ms) / 1_000 for start_ms in open_hours]
        ready: dict[int, list[int]] = {}
        for start_ms in sorted(hours.keys() - open_hours, reverse=True):
            note = self._notes[start_ms]
            if start_ms in old:
                ready_at = min(old_changed + timing.old_quiet, note.since + timing.old_limit)
            else:
                ready_at = min(note.changed + timing.quiet, note.since + timing.limit)
            if ready_at <= seconds:
                ready.setdefault(Level.DAY.start_ms(start_ms), []).append(start_ms)
            else:
                waits.append(ready_at - seconds)
        tasks = [SealTask(Level.DAY, day_ms, tuple(own)) for day_ms, own in ready.items()]
        tasks += self._joined(dirty, hours)
        return SealPlan(
            sorted(tasks, key=lambda task: task.start_ms, reverse=True),
            min(waits) if waits else None,
            max(open_hours, default=None),
        )

    def postpone(self, hours: Collection[int], seconds: float) -> None:
        """Let hours wait anew that could not be sealed: an event was pending, or the mark changed meanwhile."""
        for start_ms in hours:
            if start_ms in self._notes:
                self._notes[start_ms] = self._notes[start_ms]._replace(since=seconds, changed=seconds)

    def _note(self, start_ms: int, mark: int, seconds: float) -> _Note:
        before = self._notes.get(start_ms)
        if before is None:
            is_behind = self._cut_ms is not None and start_ms < self._cut_ms
            return _Note(mark, seconds, self._old_changed if is_behind else seconds)
        return before if before.mark == mark else _Note(mark, before.since, seconds)

    @staticmethod
    def _joined(dirty: Collection[DirtyPeriod], hours: Collection[int]) -> list[SealTask]:
        """Return the dirty days without dirty hours, and the dirty months without dirty hours or days."""
        days = {each.start_ms for each in dirty if each.level is Level.DAY}
        busy_days = set(map(Level.DAY.start_ms, hours))
        busy_months = {Level.MONTH.start_ms(day_ms) for day_ms in days | busy_days}
        months = {each.start_ms for each in dirty if each.level is Level.MONTH}
        return [SealTask(Level.DAY, start_ms) for start_ms in days - busy_days] + [
            SealTask(Level.MONTH, start_ms) for start_ms in months - busy_months
        ]
