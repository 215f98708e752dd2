"""Shares: how much of a round each workspace gets, so that the work of one does not stall the others.

A round walks passes of many workspaces. Each workspace has a slice of processor time; what does not fit stays pending, or
due, for the next round. A walk that may take long runs in a thread, so that the other stages of the worker go on.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeVar

SLICE_SECONDS = 0.2
"""Processor time that the walks of one workspace take in a round. The walk that exceeds it is completed."""
YIELD_SECONDS = 0.02
"""Processor time after which the event loop runs other tasks."""
MAX_HISTORY_EVENTS = 50_000
"""Events of history that one round reads for a workspace. A single pass with more is read alone."""
MAX_HISTORY_IN_ALL = 200_000
"""Events of history that one round reads for all workspaces."""
LONG_HISTORY = 5_000
"""Events of history from which on a walk runs in a thread."""

T = TypeVar("T")


class TimeSlices:
    """Processor time that each workspace has taken in one round."""

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        self._clock = clock
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._unyielded = 0.0

    def is_over(self, workspace_id: str) -> bool:
        """Return whether the workspace has taken its slice of this round."""
        return self._seconds[workspace_id] >= SLICE_SECONDS

    def add(self, workspace_id: str, began: float) -> bool:
        """Count the time since `began` and return whether the event loop should run other tasks now."""
        seconds = self._clock() - began
        self._seconds[workspace_id] += seconds
        self._unyielded += seconds
        if self._unyielded < YIELD_SECONDS:
            return False
        self._unyielded = 0.0
        return True

    def now(self) -> float:
        """Return the processor time of this thread, in seconds."""
        return self._clock()


def choose_by_history(sized: Sequence[tuple[T, str, int]]) -> list[T]:
    """Return the items to read in one round, of (item, workspace id, events of history); at least one.

    Items without history are always chosen. The others are chosen workspace by workspace in turn.
    """
    chosen = [item for item, _, size in sized if not size]
    queues: dict[str, list[tuple[T, int]]] = {}
    for item, workspace_id, size in sized:
        if size:
            queues.setdefault(workspace_id, []).append((item, size))
    total = 0
    read: defaultdict[str, int] = defaultdict(int)
    while queues:
        for workspace_id, queue in list(queues.items()):
            item, size = queue.pop(0)
            is_too_much = read[workspace_id] + size > MAX_HISTORY_EVENTS or total + size > MAX_HISTORY_IN_ALL
            if not (is_too_much and (read[workspace_id] or total >= MAX_HISTORY_IN_ALL)):
                chosen.append(item)
                read[workspace_id] += size
                total += size
            if not queue:
                del queues[workspace_id]
    return chosen
