"""The last step of a fold: empty what was removed, mark the hours that change, and clear the events that are counted.

This is step 7 of the fold in docs/explanation/exactly-once.md. Every part of it is safe to repeat, in this order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.domain.events.guards import Decisions
from app.domain.events.tombstones import target_of, tombstone_id
from app.store.stages.pending import PendingAt
from app.store.stages.rollup_marks import Hour
from workers.worker import Worker

from .advance import RoundClock, Saved
from .rounds import EventRef, FoldRound


async def clear(
    worker: Worker,
    fold_round: FoldRound,
    saved: Mapping[str, Saved],
    at: RoundClock,
    still_pending: Mapping[str, PendingAt],
) -> None:
    """Clear the events that are counted, empty those recorded after an erasure, forward events of merged passes.

    What was recorded after an erasure has never counted, so that no hour is marked for it.
    """
    counted = fold_round.marks + [
        (each.advanced.card.workspace_id, pass_id, event_id)
        for pass_id, each in saved.items()
        for event_id in each.advanced.folded_ids
    ]
    decisions = fold_round.decisions
    for each in saved.values():
        decisions |= each.advanced.decisions
    if fold_round.emptied:
        await worker.fold_queries.replace_by_stubs(fold_round.emptied, at.now_ms)
    await clear_events(worker, counted, at.now_ms, still_pending, decisions=decisions)
    await worker.merge_queries.forward(fold_round.strays)


async def clear_events(
    worker: Worker,
    counted: Sequence[EventRef],
    at_ms: int,
    still_pending: Mapping[str, PendingAt],
    *,
    decisions: Decisions,
) -> None:
    """Clear counted events, after emptying the targets of tombstones and marking the hours of all. Safe to repeat.

    `still_pending` gives the move counter that each event had when it was read, and its hour. `decisions` are those that the
    passes store about the events: the update that clears an event writes its outcome. If the worker crashes in between,
    the tombstone stays pending, and the next round repeats all writes.
    """
    targets = [
        (workspace_id, pass_id, target)
        for workspace_id, pass_id, event_id in counted
        if (target := target_of(event_id)) is not None and target != pass_id
    ]
    workspace_ids = {event_id: workspace_id for workspace_id, _, event_id in counted}
    hours = await find_hours(worker, workspace_ids, targets, still_pending)
    await worker.fold_queries.replace_by_stubs(targets, at_ms)
    # After the stubs, for a seal in between would count the targets again and drop the mark. Before the clearing, for
    # readers take the events that are not pending from the seals.
    await worker.rollup_marks.mark_hours(hours)
    await worker.fold_queries.clear(
        list(workspace_ids), still_pending, decisions=decisions, workspace_ids=workspace_ids
    )


async def find_hours(
    worker: Worker,
    workspace_ids: Mapping[str, str],
    targets: Sequence[EventRef],
    still_pending: Mapping[str, PendingAt],
) -> list[Hour]:
    """Return the hours whose rollups change: those of the events, by id in `workspace_ids`, and of the targets.

    A tombstone of an earlier version does not name the hour of its target. It then gets it before the target is emptied.
    """
    found = {
        event_id: hour_ms
        for event_id in workspace_ids
        if event_id in still_pending and (hour_ms := still_pending[event_id].hour_ms) is not None
    }
    unnamed = {tombstone_id(target): target for _, _, target in targets if tombstone_id(target) not in found}
    if unnamed:
        found |= await worker.rollup_marks.store_target_hours(unnamed, workspace_ids=workspace_ids)
    return sorted({(workspace_ids[event_id], hour_ms) for event_id, hour_ms in found.items()})
