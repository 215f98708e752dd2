"""Fold: each pending event counted exactly once in its pass, five or six round trips for 1,000 of them.

The aggregates, the states, the memberships, the outbox and the ids of the events folded are saved in one write of one
document; only then are the events marked. Whoever dies in between leaves the ids in `lb`, and the next fold marks only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from app.domain.events.events import Event, times_moved
from app.domain.events.tombstones import target_of, targets_of, tombstone_id
from app.domain.ids import slot_of
from app.domain.passes.passes import Pass
from app.flow import bounds_of
from app.store.stages.fold import Pending, Waiting
from app.telemetry import metrics
from workers.worker import Worker

from .advance import Work, instants, settle

READ = 1_000
A_PASS = 500
CHECKED = 2_000
Counted = tuple[str, str, str]
"""An event as it is marked or emptied: its workspace, its pass, its id."""


async def fold(worker: Worker, key: str) -> None:
    """Folds what is pending in a range of slots until it is dry. Safe to repeat and to overlap."""
    await worker.alone("fold", key, lambda: fold_once(worker, key))


async def fold_once(worker: Worker, key: str) -> bool:
    """One round; whether there may be more to do: something was moved, or the range was not read from its beginning."""
    low, high = bounds_of(key)
    at = await instants(worker)
    beyond = worker.cursors.get(key)
    pending = await worker.pumps.pending(low, high, beyond, READ)
    full = len(pending) == READ
    by_pass = _grouped(pending)
    # 2: the passes after their events, and the definitions after the passes.
    cards = await worker.pumps.passes(by_pass)
    definitions = await worker.known_definitions({card.workspace_id for card in cards.values()})
    taken: list[str] = []
    size = 0
    for pass_id, card in cards.items():
        size += len(by_pass[pass_id]) + len(card.lb)
        if taken and size > CHECKED:
            full = True
            break
        taken.append(pass_id)
    # 3: what is still pending *now*, after the passes were read. Not asked for a pass as this process left it when it had
    # marked what it had counted: its events were read after that, so none of them is counted yet, and `lb` is marked.
    unsure = [pass_id for pass_id in taken if worker.marked.get(pass_id) != cards[pass_id].fid]
    asked = [e.id for pass_id in unsure for e in by_pass[pass_id]] + [
        i for pass_id in unsure for i in cards[pass_id].lb
    ]
    still = await worker.pumps.still_pending(list(dict.fromkeys(asked)))
    still |= {e.id: Waiting(p, times_moved(e)) for p in set(taken) - set(unsure) for e in by_pass[p]}
    marks: list[Counted] = []
    works: list[Work] = []
    strays: list[tuple[Pass, Event]] = []
    late = await _erased(worker, [item for item in pending if item.event.pass_id not in cards])
    last = pending[-1].event.pass_id if pending else None
    for pass_id in taken:
        card, events = cards[pass_id], by_pass[pass_id]
        if card.erased is not None:
            # Recorded by who had not heard of it yet: nothing of it is kept.
            own = tombstone_id(pass_id)
            for event in events:
                (marks if event.id == own else late).append((card.workspace_id, pass_id, event.id))
            continue
        unmarked = waiting_for(card, card.lb, still)
        if unmarked:
            # The fold before this one died between its write and its marks.
            marks += [(card.workspace_id, pass_id, event_id) for event_id in unmarked]
            continue
        if card.alias_of is not None:
            # Recorded by who had not heard of the merge yet.
            untold = set(waiting_for(card, [event.id for event in events], still)) - set(card.lb)
            strays += [(card, event) for event in events if event.id in untold]
            continue
        # Asked for at other moments than its tombstone, a removed event may still have looked pending.
        gone = targets_of(card.lb)
        fresh = [event for event in events if event.id in still and event.id not in gone]
        if fresh:
            cut = len(fresh) > A_PASS or (full and pass_id == last)
            works.append(Work(card, fresh[:A_PASS], cut))
    done = await settle(worker, at, works, definitions)
    marks += [
        (saved.advanced.card.workspace_id, pass_id, event_id)
        for pass_id, saved in done.items()
        for event_id in saved.advanced.taken
    ]
    if late:
        await worker.pumps.empty(late, at.now_ms)
    await mark(worker, marks, at.now_ms, still)
    await worker.merges.follow(strays)
    for pass_id, saved in done.items():
        worker.saw_marked(pass_id, saved.fid)
    if taken:
        metrics.FOLDS.inc()
        metrics.EVENTS_FOLDED.inc(sum(len(saved.advanced.taken) for saved in done.values()))
    worker.cursors.pop(key, None)
    if full and taken:
        worker.cursors[key] = slot_of(taken[-1]), taken[-1]
    return bool(marks) or bool(late) or bool(strays) or bool(done) or beyond is not None


def waiting_for(card: Pass, event_ids: Iterable[str], still: Mapping[str, Waiting]) -> list[str]:
    """Those of the events that wait for this pass: what it counted before it was merged may wait for another one."""
    return [each for each in event_ids if each in still and still[each].pass_id == card.id]


async def mark(worker: Worker, counted: Sequence[Counted], at_ms: int, still: Mapping[str, Waiting]) -> None:
    """Marks what was counted; what a tombstone removes is emptied before the tombstone is marked.

    `still` says how often an event had moved when it was last seen pending. Whoever dies in between leaves the tombstone
    pending, and it is marked again.
    """
    targets = [
        (workspace_id, pass_id, target)
        for workspace_id, pass_id, event_id in counted
        if (target := target_of(event_id)) is not None and target != pass_id
    ]
    await worker.pumps.empty(targets, at_ms)
    await worker.pumps.unmark([event_id for _, _, event_id in counted], still)


async def _erased(worker: Worker, strays: Sequence[Pending]) -> list[Counted]:
    """Those of the events without a pass whose pass was erased."""
    if not strays:
        return []
    erased = await worker.erasures.known(list({stray.event.pass_id for stray in strays}))
    found = [stray for stray in strays if stray.event.pass_id in erased]
    return [(stray.workspace_id, stray.event.pass_id, stray.event.id) for stray in found]


def _grouped(pending: Sequence[Pending]) -> dict[str, list[Event]]:
    by_pass: dict[str, list[Event]] = {}
    for item in pending:
        by_pass.setdefault(item.event.pass_id, []).append(item.event)
    return by_pass
