"""Fold: each pending event counted exactly once in its pass, five or six round trips for 1,000 of them.

The aggregates, the states, the memberships, the outbox and the ids of the events folded are saved in one write of one
document; only then are the events marked. Whoever dies in between leaves the ids in `lb`, and the next fold marks only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from app.domain.events.events import Event, move_count
from app.domain.events.tombstones import target_of, targets_of, tombstone_id
from app.domain.ids import slot_of
from app.domain.passes.passes import Pass
from app.flow import bounds_of
from app.store.stages.fold import PendingAt, PendingEvent
from app.telemetry import metrics
from workers.worker import Worker

from .advance import PassWork, advance_passes, read_clock

FOLD_BATCH_SIZE = 1_000
MAX_EVENTS_PER_PASS = 500
MAX_IDS_CHECKED = 2_000
EventRef = tuple[str, str, str]
"""An event as it is marked or emptied: its workspace, its pass, its id."""


async def fold(worker: Worker, key: str) -> None:
    """Folds what is pending in a range of slots until it is dry. Safe to repeat and to overlap."""
    await worker.run_alone("fold", key, lambda: fold_once(worker, key))


async def fold_once(worker: Worker, key: str) -> bool:
    """One round; whether there may be more to do: something was moved, or the range was not read from its beginning."""
    low, high = bounds_of(key)
    at = await read_clock(worker)
    beyond = worker.cursors.get(key)
    pending = await worker.fold_queries.pending(low, high, beyond, FOLD_BATCH_SIZE)
    full = len(pending) == FOLD_BATCH_SIZE
    by_pass = _group_by_pass(pending)
    # 2: the passes after their events, and the definitions after the passes.
    cards = await worker.fold_queries.passes(by_pass)
    definitions = await worker.read_definitions({card.workspace_id for card in cards.values()})
    taken: list[str] = []
    size = 0
    for pass_id, card in cards.items():
        size += len(by_pass[pass_id]) + len(card.last_folded_ids)
        if taken and size > MAX_IDS_CHECKED:
            full = True
            break
        taken.append(pass_id)
    # 3: what is still pending *now*, after the passes were read. Not asked for a pass as this process left it when it had
    # marked what it had counted: its events were read after that, so none of them is counted yet, and `lb` is marked.
    unsure = [pass_id for pass_id in taken if worker.cleared_writes.get(pass_id) != cards[pass_id].write_id]
    asked = [e.id for pass_id in unsure for e in by_pass[pass_id]] + [
        i for pass_id in unsure for i in cards[pass_id].last_folded_ids
    ]
    still = await worker.fold_queries.still_pending(list(dict.fromkeys(asked)))
    still |= {e.id: PendingAt(p, move_count(e)) for p in set(taken) - set(unsure) for e in by_pass[p]}
    marks: list[EventRef] = []
    works: list[PassWork] = []
    strays: list[tuple[Pass, Event]] = []
    late = await _pending_of_erased(worker, [item for item in pending if item.event.pass_id not in cards])
    last = pending[-1].event.pass_id if pending else None
    for pass_id in taken:
        card, events = cards[pass_id], by_pass[pass_id]
        if card.erased is not None:
            # Recorded by who had not heard of it yet: nothing of it is kept.
            own = tombstone_id(pass_id)
            for event in events:
                (marks if event.id == own else late).append((card.workspace_id, pass_id, event.id))
            continue
        unmarked = pending_for_pass(card, card.last_folded_ids, still)
        if unmarked:
            # The fold before this one died between its write and its marks.
            marks += [(card.workspace_id, pass_id, event_id) for event_id in unmarked]
            continue
        if card.alias_of is not None:
            # Recorded by who had not heard of the merge yet.
            untold = set(pending_for_pass(card, [event.id for event in events], still)) - set(card.last_folded_ids)
            strays += [(card, event) for event in events if event.id in untold]
            continue
        # Asked for at other moments than its tombstone, a removed event may still have looked pending.
        gone = targets_of(card.last_folded_ids)
        fresh = [event for event in events if event.id in still and event.id not in gone]
        if fresh:
            cut = len(fresh) > MAX_EVENTS_PER_PASS or (full and pass_id == last)
            works.append(PassWork(card, fresh[:MAX_EVENTS_PER_PASS], cut))
    done = await advance_passes(worker, at, works, definitions)
    marks += [
        (saved.advanced.card.workspace_id, pass_id, event_id)
        for pass_id, saved in done.items()
        for event_id in saved.advanced.folded_ids
    ]
    if late:
        await worker.fold_queries.replace_by_stubs(late, at.now_ms)
    await clear_events(worker, marks, at.now_ms, still)
    await worker.merge_queries.forward(strays)
    for pass_id, saved in done.items():
        worker.remember_cleared(pass_id, saved.write_id)
    if taken:
        metrics.FOLDS.inc()
        metrics.EVENTS_FOLDED.inc(sum(len(saved.advanced.folded_ids) for saved in done.values()))
    worker.cursors.pop(key, None)
    if full and taken:
        worker.cursors[key] = slot_of(taken[-1]), taken[-1]
    return bool(marks) or bool(late) or bool(strays) or bool(done) or beyond is not None


def pending_for_pass(card: Pass, event_ids: Iterable[str], still: Mapping[str, PendingAt]) -> list[str]:
    """Those of the events that wait for this pass: what it counted before it was merged may wait for another one."""
    return [each for each in event_ids if each in still and still[each].pass_id == card.id]


async def clear_events(worker: Worker, counted: Sequence[EventRef], at_ms: int, still: Mapping[str, PendingAt]) -> None:
    """Marks what was counted; what a tombstone removes is emptied before the tombstone is marked.

    `still` says how often an event had moved when it was last seen pending. Whoever dies in between leaves the tombstone
    pending, and it is marked again.
    """
    targets = [
        (workspace_id, pass_id, target)
        for workspace_id, pass_id, event_id in counted
        if (target := target_of(event_id)) is not None and target != pass_id
    ]
    await worker.fold_queries.replace_by_stubs(targets, at_ms)
    await worker.fold_queries.clear([event_id for _, _, event_id in counted], still)


async def _pending_of_erased(worker: Worker, strays: Sequence[PendingEvent]) -> list[EventRef]:
    """Those of the events without a pass whose pass was erased."""
    if not strays:
        return []
    erased = await worker.erase_queries.erased_among(list({stray.event.pass_id for stray in strays}))
    found = [stray for stray in strays if stray.event.pass_id in erased]
    return [(stray.workspace_id, stray.event.pass_id, stray.event.id) for stray in found]


def _group_by_pass(pending: Sequence[PendingEvent]) -> dict[str, list[Event]]:
    by_pass: dict[str, list[Event]] = {}
    for item in pending:
        by_pass.setdefault(item.event.pass_id, []).append(item.event)
    return by_pass
