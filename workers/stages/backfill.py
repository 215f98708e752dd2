"""Backfill: advance the passes that were evaluated under an older revision of their workspace's definitions.

A backfill has no stored state of its own: its progress is the number of passes that are still behind. Each worker advances
the passes of its slots. The worker that finds no pass behind in any slot ends the backfill.
"""

from __future__ import annotations

from datetime import timedelta

from app.domain.ids import SLOT_BOUNDS
from app.domain.segments.limits import DAY
from app.flow import SLOT_RANGES
from app.store.stages.fold import DuePass
from workers.laps import LOOK_SIZE, Lap
from workers.worker import Worker

from .advance import read_clock
from .due import advance_lap

BACKFILL_BATCH_SIZE = 200
SUPERSEDED_TTL_MS = DAY // timedelta(milliseconds=1)
"""How long a version stays among the definitions after a later one replaced it, even if no pass needs it."""


async def backfill(worker: Worker, workspace_id: str) -> None:
    """Advance the passes of a workspace until none is behind. Safe to repeat, and to run in several workers at once."""
    await worker.run_alone("backfill", workspace_id, lambda: backfill_once(worker, workspace_id))


async def backfill_once(worker: Worker, workspace_id: str) -> bool:
    """Run one round and return whether it saved anything, so that more may be behind."""
    at = await read_clock(worker)
    definitions = (await worker.definitions.read([workspace_id])).get(workspace_id)
    if definitions is None:
        return False
    revision, own = definitions.announced_revision, worker.sharing.slots
    lap = worker.laps.pop(("backfill", workspace_id), None)
    if lap is not None and lap.subject != (revision, own):
        lap = None
    if lap is not None and not lap.passes and not lap.is_cut:
        if lap.should_go_on and any(worker.is_running("fold", key) for key in SLOT_RANGES):
            # Do not read the same passes with pending events at each look.
            lap.looks += 1
            worker.laps["backfill", workspace_id] = lap
            return False
        lap = None
    if lap is None:
        lap = Lap(subject=(revision, own), slots=own)
    if not lap.passes:
        await _read_behind(worker, workspace_id, lap, revision)
    if not lap.found and not lap.is_cut and lap.slots != SLOT_BOUNDS:
        first, _ = await worker.fold_queries.passes_behind(workspace_id, revision, 1)
        if first:
            if not worker.sharing.stalled("backfill", {workspace_id: first}):
                return False
            # Another worker makes no progress with its slots.
            lap = Lap(subject=(revision, own))
            await _read_behind(worker, workspace_id, lap, revision)
    if not lap.found and not lap.is_cut:
        # The count comes first: once the revision counts as caught up, no further round begins.
        await worker.superseded_queries.count_members(workspace_id, revision)
        # A change that crashed may have announced a revision that a rule took afterwards, which announces none.
        await worker.fold_queries.mark_caught_up(workspace_id, definitions.revision)
        await worker.superseded_queries.drop_versions(workspace_id, revision, at.now_ms - SUPERSEDED_TTL_MS)
        worker.definitions.compact(workspace_id, revision)
        return False
    return await advance_lap(worker, ("backfill", workspace_id), lap, BACKFILL_BATCH_SIZE, at)


async def _read_behind(worker: Worker, workspace_id: str, lap: Lap, revision: int) -> None:
    """Add passes that are behind to a lap, as many as it holds."""
    found, lap.slot = await worker.fold_queries.passes_behind(
        workspace_id, revision, LOOK_SIZE, lap.slot, slots=lap.slots
    )
    lap.passes = [DuePass(pass_id, workspace_id, 0) for pass_id in found]
    lap.is_cut = lap.slot is not None
    lap.found += len(found)
