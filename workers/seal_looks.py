"""Looks for passes whose months must be sealed. The sweep of a worker makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from app.clock import system_ms
from app.store.operations.truncation import TruncationQueries
from workers.stages.seal_passes import delete_doubted
from workers.worker import Worker

SEAL_INTERVAL_SECONDS = 30.0
"""How often a worker seals the months of passes: a pass with an event each second is sealed once in this time."""
SEAL_ALL_INTERVAL_SECONDS = 600.0
"""How often a worker looks for marked passes in all workspaces."""


class SealLooks:
    """Looks of one worker. `seal` runs the stage that seals the passes of a workspace."""

    def __init__(self, worker: Worker, seal: Callable[[Worker, str], Awaitable[None]]) -> None:
        self._worker, self._seal = worker, seal
        self._next_seconds = self._next_all_seconds = 0.0
        self._workspace_ids: set[str] = set()

    async def seal_passes(self) -> None:
        """Seal passes once in `SEAL_INTERVAL_SECONDS`, and at each look where the last one had to end early.

        The stage leaves those workspaces among the unsealed ones that it has not finished. It looks at all workspaces when
        the worker starts, and once in `SEAL_ALL_INTERVAL_SECONDS`: another worker may have crashed after it marked passes.
        """
        worker, now_seconds = self._worker, asyncio.get_running_loop().time()
        if now_seconds >= self._next_all_seconds:
            self._next_all_seconds = now_seconds + SEAL_ALL_INTERVAL_SECONDS
            resources = worker.resources
            worker.looks.unsealed |= set(await TruncationQueries(resources.db, resources.in_chunk).workspaces())
            await delete_doubted(worker, system_ms())
        if now_seconds >= self._next_seconds:
            self._next_seconds = now_seconds + SEAL_INTERVAL_SECONDS
            now_ms = system_ms()
            uncounted = {each for each, due_ms in worker.looks.uncounted.items() if due_ms <= now_ms}
            self._workspace_ids = worker.looks.unsealed | uncounted
        for workspace_id in sorted(self._workspace_ids):
            await self._seal(worker, workspace_id)
        self._workspace_ids &= worker.looks.unsealed
