"""Count the passes that were active in a month or year, so that a question about it reads one document.

The write that changes the active months of a pass also stores in the pass which periods must be counted anew. This stage
marks the numbers of these periods, and only then takes the field of the pass away. It counts a marked number once its mark
has been the same for a while, and stores it if the mark is still the same. So a number without a mark holds every change,
less those that a pass still names. Each step may be repeated after a crash.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from app.clock import system_ms
from app.domain.ids import slot_of
from app.domain.rollups.periods import bounds_of, is_month
from app.store.stages.active_counts import MAX_RECOUNTS_READ, DirtyCount, Recount
from workers.worker import Worker

COUNT_DELAY_SECONDS = 60.0
"""How long the mark of a number must be the same before the number is counted: the running month changes all the time."""
COUNT_SLICE_SECONDS = 0.1
"""Time of counting after which a round ends."""
PAUSE_FACTOR = 10
"""How many times as long as it has counted a worker then leaves the numbers of the workspace alone."""


async def mark_changed(worker: Worker, workspace_id: str, recounts: Sequence[Recount]) -> None:
    """Mark the numbers that passes say to be counted anew, then take that from the passes. Safe to repeat."""
    if recounts:
        periods = {period for each in recounts for period in each.periods}
        await worker.active_count_queries.mark(workspace_id, periods, system_ms())
        await worker.active_count_queries.take_recounts(workspace_id, recounts)
        worker.looks.uncounted.setdefault(workspace_id, 0)


async def mark_left(worker: Worker, workspace_id: str) -> bool:
    """Mark what passes in the worker's slots say to be counted anew. Return whether there may be more. Safe to repeat."""
    low, high = worker.sharing.slots
    found = await worker.active_count_queries.recounts(workspace_id)
    await mark_changed(worker, workspace_id, [each for each in found if low <= slot_of(each.pass_id) <= high])
    return len(found) == MAX_RECOUNTS_READ


async def count_active(worker: Worker, workspace_id: str, is_busy: Callable[[], bool]) -> None:
    """Count the numbers of a workspace that have waited long enough, the latest months first. Safe to repeat.

    The round ends early if `is_busy`, and after COUNT_SLICE_SECONDS. One worker counts a workspace, unless the shares of the
    slots change.
    """
    low, high = worker.sharing.slots
    if not low <= slot_of(workspace_id) <= high:
        worker.looks.uncounted.pop(workspace_id, None)
        return
    queries = worker.active_count_queries
    if workspace_id not in worker.looks.has_counts:
        await queries.insert_missing(workspace_id, system_ms())
        worker.looks.has_counts.add(workspace_id)
    if worker.looks.uncounted.get(workspace_id, 0) > system_ms():
        return
    election, left, spent = worker.last_election(), await queries.dirty(workspace_id), 0.0
    for each in sorted(left, key=_order, reverse=True):
        if worker.stopping or is_busy() or spent >= COUNT_SLICE_SECONDS:
            break
        if each.marked_ms + 1_000 * COUNT_DELAY_SECONDS <= system_ms():
            began_at = time.monotonic()
            count = await queries.count(workspace_id, each.period)
            spent += time.monotonic() - began_at
            # A new primary may not have shown all passes that were changed before the mark.
            worker.require_same_primary(election)
            await queries.store(workspace_id, each, count)
            left.remove(each)
    _schedule(worker, workspace_id, left, spent)


def _schedule(worker: Worker, workspace_id: str, left: Iterable[DirtyCount], spent_seconds: float) -> None:
    """Note when this worker looks at the numbers again, if any are left."""
    ready_ms = min((each.marked_ms + int(1_000 * COUNT_DELAY_SECONDS) for each in left), default=None)
    if ready_ms is None:
        worker.looks.uncounted.pop(workspace_id, None)
    else:
        rested_ms = system_ms() + int(1_000 * PAUSE_FACTOR * spent_seconds)
        worker.looks.uncounted[workspace_id] = max(ready_ms, rested_ms)


def _order(count: DirtyCount) -> tuple[bool, float]:
    """Return the order of counting: months by time, before them years by time."""
    return is_month(count.period), bounds_of(count.period)[0].timestamp()
