"""Pending events of passes whose erasure is finished: the fold empties them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.domain.events.events import Event, Origin
from app.domain.events.tombstones import Tombstone, target_of, tombstone_id
from app.domain.passes.passes import Pass
from app.domain.rollups.marks import counted_hour_of
from app.store.stages.pending import PendingAt, PendingEvent
from workers.worker import Worker

from .rounds import Backlog, FoldRound


async def add_events_of_erased(
    worker: Worker, fold_round: FoldRound, backlog: Backlog, *, passes: Mapping[str, Pass]
) -> dict[str, PendingAt]:
    """Add to a round the events whose pass does not exist because its erasure is finished. Safe to repeat.

    They are emptied without a mark, because what is recorded after an erasure has never counted. But a merge that was
    folded after the erasure may have moved an event here that counted before. Such an event is removed as if a client had
    asked for it: the tombstone names its hour, so a repeat after a crash marks the hour, too.

    Returns by id how often the tombstones among the events have moved: an event is cleared only with this number.
    """
    strays = [item for pass_id, items in backlog.by_pass.items() if pass_id not in passes for item in items]
    if not strays:
        return {}
    erased = await worker.erase_queries.erased_among(list({stray.event.pass_id for stray in strays}))
    found = [stray for stray in strays if stray.event.pass_id in erased]
    counted = [stray for stray in found if stray.event.move is not None and stray.event.move.was_published]
    await _insert_tombstones(worker, counted)
    tombstones = dict[str, PendingAt]()
    for stray in found:
        workspace_id, event = stray.workspace_id, stray.event
        if stray in counted:
            fold_round.marks.append((workspace_id, event.pass_id, tombstone_id(event.id)))
        elif _removes_event(event):
            fold_round.marks.append((workspace_id, event.pass_id, event.id))
            tombstones[event.id] = PendingAt(event.pass_id, 0 if event.move is None else event.move.count)
        else:
            fold_round.emptied.append((workspace_id, event.pass_id, event.id))
    return tombstones


def _removes_event(event: Event) -> bool:
    return target_of(event.id) not in (None, event.pass_id)


async def _insert_tombstones(worker: Worker, strays: Sequence[PendingEvent]) -> None:
    for stray in strays:
        event, workspace = stray.event, worker.resources.workspace(stray.workspace_id)
        hour_ms = counted_hour_of(event.type, event.occurred_at)
        tombstone = Tombstone(event.pass_id, event.id, event.recorded_at, target_hour_ms=hour_ms)
        await workspace.removals.insert([tombstone], Origin("INTERNAL"))
