"""Merge: the events of a merged pass move to the pass that answers for it, where the fold counts them once more.

The fold has ended the merged pass in one write, with `merging` on it: nothing counts there from then on. Each event moves in
one write that also makes it wait for its new pass; so it counts there exactly once, by the rules of any event, and what
was told of it before is not told again. A slow worker's mark cannot fall on it: marks name how often an event has moved.
"""

from __future__ import annotations

from app.domain.ids import slot_of
from app.domain.passes.merges import profile_for_survivor
from app.flow import range_of
from workers.worker import Worker

from .fold import pending_for_pass


async def merge(worker: Worker, key: str) -> None:
    """Moves what is left of a merged pass. Safe to repeat and to overlap."""
    await worker.run_alone("merge", key, lambda: merge_once(worker, key))


async def merge_once(worker: Worker, pass_id: str) -> bool:
    """One round, and never another: what has to wait for marks, or for publish, is taken up again by the sweep."""
    alias = (await worker.fold_queries.passes([pass_id])).get(pass_id)
    if alias is None or alias.alias_of is None:
        return False
    if pending_for_pass(alias, alias.last_folded_ids, await worker.fold_queries.still_pending(alias.last_folded_ids)):
        # Whoever ended the pass has not marked what it had counted: until then nobody can tell that from what is new.
        worker.resources.bus.wake("fold", range_of(slot_of(pass_id)))
        return False
    if alias.outbox:
        # Who waits until an event is told looks at the outbox of the pass that it is of.
        return False
    left = profile_for_survivor(alias, await worker.resources.clock.now())
    if left is not None:
        await worker.merge_queries.record(alias, left)
    while await worker.merge_queries.move(alias):
        worker.resources.bus.wake("fold", range_of(slot_of(alias.alias_of)))
    if not await worker.merge_queries.finished(alias):
        worker.resources.bus.wake("erase", alias.id)
    worker.resources.bus.wake("fold", range_of(slot_of(alias.alias_of)))
    return False
