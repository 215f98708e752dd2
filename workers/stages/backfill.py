"""Backfill: passes judged under an older revision are walked over the new ones. No job state; progress is who lags."""

from __future__ import annotations

from workers.worker import Worker

from .advance import instants
from .due import walked

AT_ONCE = 200


async def backfill(worker: Worker, workspace_id: str) -> None:
    """Walks a workspace's lagging passes until none lags. Safe to repeat and to overlap."""
    await worker.alone("backfill", workspace_id, lambda: backfill_once(worker, workspace_id))


async def backfill_once(worker: Worker, workspace_id: str) -> bool:
    """One round; whether it moved something and there may be more."""
    at = await instants(worker)
    rev = (await worker.known_definitions([workspace_id]))[workspace_id].rev
    lagging = await worker.pumps.stale(workspace_id, rev, AT_ONCE)
    if not lagging:
        await worker.pumps.caught_up(workspace_id, rev)
        return False
    return await walked(worker, lagging, at) > 0
