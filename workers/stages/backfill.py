"""Backfill: passes judged under an older revision are walked over the new ones. No job state; progress is who lags."""

from __future__ import annotations

from workers.worker import Worker

from .advance import read_clock
from .due import advance_without_events

BACKFILL_BATCH_SIZE = 200


async def backfill(worker: Worker, workspace_id: str) -> None:
    """Walks a workspace's lagging passes until none lags. Safe to repeat and to overlap."""
    await worker.run_alone("backfill", workspace_id, lambda: backfill_once(worker, workspace_id))


async def backfill_once(worker: Worker, workspace_id: str) -> bool:
    """One round; whether it moved something and there may be more."""
    at = await read_clock(worker)
    rev = (await worker.read_definitions([workspace_id]))[workspace_id].revision
    lagging = await worker.fold_queries.passes_behind(workspace_id, rev, BACKFILL_BATCH_SIZE)
    if not lagging:
        await worker.fold_queries.mark_caught_up(workspace_id, rev)
        return False
    return await advance_without_events(worker, lagging, at) > 0
