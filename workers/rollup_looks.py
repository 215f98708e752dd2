"""Looks of the sweep for the seal stage: at noted workspaces, at dirty heads, and at contents that no head names."""

from __future__ import annotations

import time
from collections.abc import Mapping

from app.clock import system_ms

from . import wakeups
from .wakeups import Run
from .worker import Worker

DIRTY_INTERVAL_SECONDS = 10.0
"""How often a worker looks for workspaces with dirty heads, in case that a note of them was lost."""
MAX_DIRTY_FOUND = 100
"""Workspaces with dirty heads that one such look finds. The next one goes on behind them."""
DROP_INTERVAL_SECONDS = 60.0
"""How often a worker looks for contents that no head names."""
CONTENTS_CHECKED = 1_000
"""Documents of contents that one read of that look returns."""


class RollupLooks:
    """Steps of one worker's sweep that find the work of the seal stage."""

    def __init__(self, worker: Worker, stages: Mapping[str, Run]) -> None:
        self._worker, self._stages = worker, stages
        self._next_dirty = self._next_drop = 0.0
        self._last_found = ""

    async def look(self) -> None:
        """Run the stage for the workspaces whose look is due, one after the other. Raises Unavailable; safe to repeat.

        The stage of another worker's workspace runs there. Without a note that is due, this asks the store once in
        `DIRTY_INTERVAL_SECONDS`.
        """
        worker, now_seconds = self._worker, time.monotonic()
        if now_seconds >= self._next_dirty:
            self._next_dirty = now_seconds + DIRTY_INTERVAL_SECONDS
            # Look past the workspaces with many dirty heads that this worker seals: the embedded servers would read all
            # of these heads.
            known = worker.seals.large_workspaces()[:MAX_DIRTY_FOUND]
            found = await worker.seal_queries.waiting_workspaces(self._last_found, MAX_DIRTY_FOUND, known)
            self._last_found = found[-1] if len(found) == MAX_DIRTY_FOUND else ""
            for workspace_id in worker.sharing.choose("seal", dict.fromkeys(found)):
                worker.seals.note_dirty(workspace_id)
        while not worker.stopping and (due := worker.seals.take_due()) is not None:
            if not worker.sharing.prefers("seal", due):
                worker.seals.hand_on(due, system_ms())
            await wakeups.take(worker, self._stages, "seal", due)

    async def drop_contents(self) -> None:
        """Delete contents that no head names, once in `DROP_INTERVAL_SECONDS`. Raises Unavailable; safe to repeat."""
        worker, now_seconds = self._worker, time.monotonic()
        if now_seconds < self._next_drop or not worker.sharing.prefers("seal", "contents"):
            return
        self._next_drop = now_seconds + DROP_INTERVAL_SECONDS
        while await worker.seal_queries.drop_contents(system_ms(), CONTENTS_CHECKED) and not worker.stopping:
            pass
