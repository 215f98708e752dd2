"""Merge: move the events of a merged pass to its survivor, where the fold counts them.

The fold has ended the merged pass in one write and marked it as `merging`. No event counts there afterwards. One write
moves an event: it sets the survivor and makes the event pending, so the fold counts the event there exactly once. An
event that the merged pass counted carries a note, so that it is not published again. A slow worker cannot clear a moved
event, because the move counter of the event has changed since the worker read it.
"""

from __future__ import annotations

import contextlib
from functools import partial

from app.domain.errors import StoreRefused
from app.domain.passes.merges import end_for_survivor, profile_for_survivor
from app.domain.passes.passes import Pass
from workers.worker import Worker

from .fold import pending_for_pass


async def complete_decided(worker: Worker) -> None:
    """Store the tombstones of merges that are decided and whose caller crashed. Safe to repeat.

    If the store refuses the tombstone of one workspace, those of the others are stored. Raises Unavailable.
    """
    for workspace_id in await worker.merge_queries.decided():
        with contextlib.suppress(StoreRefused):
            await worker.resources.workspace(workspace_id).removals.complete_merge()


async def merge(worker: Worker, key: str) -> None:
    """Move the events of a merged pass. Safe to repeat, and to run in several workers at once."""
    await worker.run_alone("merge", key, lambda: merge_once(worker, key))


async def merge_once(worker: Worker, pass_id: str) -> bool:
    """Run one round and return False: no other round follows at once.

    If the round must wait for the fold to clear or forward events, or for publish, the sweep starts the next one.
    """
    election = worker.last_election()
    alias = (await worker.fold_queries.passes([pass_id])).get(pass_id)
    if alias is None or alias.alias_of is None:
        return False
    ids = alias.last_folded_ids
    workspace_ids = dict.fromkeys(ids, alias.workspace_id)
    if pending_for_pass(alias, ids, await worker.fold_queries.still_pending(ids, workspace_ids=workspace_ids)):
        # The fold has not cleared the last events that the pass counted: until then, they look like new events.
        worker.resources.wake_fold(alias.workspace_id, [pass_id])
        return False
    if alias.outbox:
        # A query that waits for an event to be published looks at the outbox of the event's pass. Keep the event there.
        return False
    await worker.merge_queries.close_name(alias)
    await worker.resources.workspace(alias.workspace_id).history.move(alias.id, alias.alias_of)
    # A new primary may not have shown all intervals.
    worker.require_same_primary(election)
    now = await worker.resources.clock.now()
    profile_event = profile_for_survivor(alias, now)
    if profile_event is not None:
        await worker.merge_queries.record(alias, profile_event)
    # A new primary may still show events as pending that the pass counted, and they would be published again.
    while await worker.merge_queries.move(alias, partial(worker.require_same_primary, election)):
        worker.resources.wake_fold(alias.workspace_id, [alias.alias_of])
    if (merged_id := await _find_unforwarded(worker, alias)) is not None:
        # The mark of that survivor may be gone. Until the fold has forwarded the events, keep the mark of the alias:
        # without one, a question would find a customer on two passes and call its answer exact.
        worker.resources.wake_fold(alias.workspace_id, [merged_id])
        return False
    # A new primary may not have shown that a survivor is merged, or what is pending there.
    worker.require_same_primary(election)
    # Only now do all members of a family lie on the survivor.
    if (end := end_for_survivor(alias, now)) is not None:
        await worker.merge_queries.record(alias, end)
    await worker.pass_period_queries.delete_of_pass(alias)
    if not await worker.merge_queries.finish(alias):
        worker.resources.bus.wake("erase", alias.id)
    worker.resources.wake_fold(alias.workspace_id, [alias.alias_of])
    return False


async def _find_unforwarded(worker: Worker, alias: Pass) -> str | None:
    """Return the first survivor that is merged itself and on which moved events wait for the fold; None without one."""
    pass_id = alias.alias_of
    while pass_id is not None:
        found = await worker.fold_queries.passes([pass_id], workspace_ids={pass_id: alias.workspace_id})
        survivor = found.get(pass_id)
        if survivor is None or survivor.alias_of is None:
            # A survivor that is merged from now on has a mark of its own until these events have moved on.
            return None
        if await worker.merge_queries.holds_moved(pass_id, alias.workspace_id):
            return pass_id
        pass_id = survivor.alias_of
    return None
