"""Fold: count each pending event exactly once in its pass, in five or six round trips for 1,000 events.

One write of a pass document saves its aggregates, measures, memberships, outbox and the ids of the events counted. The
events are cleared only afterwards. If the worker crashes in between, the ids are in `last_folded_ids`, and the next fold
only clears them. `docs/explanation/exactly-once.md` gives the steps and the proof.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from app.domain.definitions import ActiveDefinitions, Definitions
from app.domain.events.events import Event
from app.domain.events.ordering import originals_of, without_waiting
from app.domain.events.tombstones import targets_of, tombstone_id
from app.domain.fold.entries import MAX_ENTRIES
from app.domain.ids import slot_of
from app.domain.passes.passes import Pass
from app.store.stages.pending import BacklogPosition, PendingAt, PendingEvent
from app.telemetry import metrics
from workers.looks import Asked
from workers.worker import Worker

from .advance import advance_passes, read_clock
from .clearing import clear
from .originals import add_originals
from .reads import PassWork
from .rounds import Backlog, FoldRound
from .shares import TimeSlices
from .strays import add_events_of_erased
from .turns import EVENTS_PER_TURN, read_turns

FOLD_BATCH_SIZE = 1_000
"""Pending events that one round reads."""
MAX_EVENTS_PER_PASS = 500
"""Events that one write of a pass counts: their ids are stored in the pass."""
MAX_IDS_CHECKED = 2_000
"""Event ids that one round checks for being pending: the events read and the `last_folded_ids` of their passes."""


async def fold(worker: Worker, key: str) -> None:
    """Fold the pending events of a slot range until none is left. Safe to repeat, and to run in several workers at once.

    A workspace may follow the range in the key, as in `0-15/ws_1`. On a sharded store, the rounds then read its events only.
    """
    slots, _, workspace_id = key.partition("/")
    worker.looks.ask(slots, workspace_id)
    await worker.run_alone("fold", slots, lambda: fold_asked(worker, slots))


async def fold_asked(worker: Worker, key: str) -> bool:
    """Run one round over the workspaces that were asked for, and return whether another may find more to do."""
    asked = worker.looks.take(key)
    has_more = await fold_once(worker, key, await find_workspaces(worker, asked))
    if has_more:
        worker.looks.put_back(key, asked)
    return has_more


async def find_workspaces(worker: Worker, asked: Asked) -> Sequence[str] | None:
    """Return the workspaces that a look names: those asked for, on a sharded store. None if it names none."""
    if not worker.resources.is_sharded:
        return None
    if asked.all:
        return await worker.looks.all_workspaces(worker.fold_queries.workspaces)
    return sorted(asked.workspace_ids)


async def fold_once(worker: Worker, key: str, workspace_ids: Sequence[str] | None = None) -> bool:
    """Run one round and return whether another may find more to do. It reads events of these workspaces only, if any.

    The order of the four reads carries the proof that no event counts twice. All come from one primary: a new one may show
    events as pending that the passes, read from the old one, have counted.
    """
    at = await read_clock(worker)
    backlog = await read_pending(worker, key, workspace_ids)
    passes, definitions = await read_passes(worker, backlog)
    chosen = choose_passes(backlog, passes)
    still_pending = await check_still_pending(worker, backlog, chosen)
    worker.require_same_primary(at.election)
    backlog = await add_originals(worker, backlog, chosen, still_pending)
    fold_round = classify(backlog, chosen, still_pending, definitions)
    still_pending |= await add_events_of_erased(worker, fold_round, backlog, passes=passes)
    slices = TimeSlices()
    saved = await advance_passes(worker, at, fold_round.works, definitions, slices)
    await clear(worker, fold_round, saved, at, still_pending)
    if chosen:
        metrics.FOLDS.inc()
        metrics.EVENTS_FOLDED.inc(sum(len(each.advanced.folded_ids) for each in saved.values()))
    delayed = {each.card.id for each in fold_round.works if slices.is_over(each.card.workspace_id)} - saved.keys()
    is_cut = backlog.is_full or len(chosen) < len(passes)
    more = move_cursor(worker, key, backlog, chosen, delayed=delayed, is_cut=is_cut)
    return more or bool(fold_round.marks or fold_round.emptied or fold_round.strays or saved)


async def read_pending(worker: Worker, key: str, workspace_ids: Sequence[str] | None = None) -> Backlog:
    """Read up to 1,000 pending events of a slot range, from where the last round stopped.

    With `workspace_ids`, read those of these workspaces only.
    """
    bounds = worker.sharing.bounds("fold", key)
    if bounds is None:
        return Backlog(None, {}, is_full=False)
    low, high = bounds
    start = worker.cursors.get(key)
    if start is not None and not low <= start[0] <= high:
        start = None
    is_long = key in worker.long_backlogs
    pending = await worker.fold_queries.pending(
        low, high, start, FOLD_BATCH_SIZE, is_long=is_long, workspace_ids=workspace_ids
    )
    by_pass = group_by_pass(pending)
    if len(pending) < FOLD_BATCH_SIZE:
        worker.long_backlogs.discard(key)
        return Backlog(start, by_pass, is_full=False)
    worker.long_backlogs.add(key)
    cut = {pending[-1].event.pass_id}
    # The first pass in order comes before the turns, so that each round moves on in the order, too.
    first = next(iter(by_pass))
    ordered, turns = {first: by_pass[first]}, set[str]()
    for turn in await read_turns(worker, key, start, pending, workspace_ids=workspace_ids):
        found = group_by_pass(turn)
        if len(turn) == EVENTS_PER_TURN:
            cut |= {turn[-1].event.pass_id} - by_pass.keys()
        turns |= found.keys() - by_pass.keys()
        ordered |= {pass_id: items for pass_id, items in found.items() if pass_id not in by_pass}
    return Backlog(start, ordered | by_pass, True, turns=frozenset(turns), cut=frozenset(cut))


def group_by_pass(pending: Iterable[PendingEvent]) -> dict[str, list[PendingEvent]]:
    """Return the events by pass, in the order in which they were read."""
    by_pass: dict[str, list[PendingEvent]] = {}
    for item in pending:
        by_pass.setdefault(item.event.pass_id, []).append(item)
    return by_pass


async def read_passes(worker: Worker, backlog: Backlog) -> tuple[dict[str, Pass], dict[str, Definitions]]:
    """Read the passes of the events by id, in the order of the backlog; then the definitions of their workspaces.

    Passes of a workspace whose definitions cannot be read are left out.
    """
    workspace_ids = {pass_id: items[0].workspace_id for pass_id, items in backlog.by_pass.items()}
    found = await worker.fold_queries.passes(backlog.by_pass, workspace_ids=workspace_ids)
    passes = {pass_id: found[pass_id] for pass_id in backlog.by_pass if pass_id in found}
    definitions = await worker.definitions.read({card.workspace_id for card in passes.values()}, passes.values())
    return {each: card for each, card in passes.items() if card.workspace_id in definitions}, definitions


def choose_passes(backlog: Backlog, passes: Mapping[str, Pass]) -> dict[str, Pass]:
    """Return the first passes, at least one, whose ids to check stay within MAX_IDS_CHECKED."""
    chosen: dict[str, Pass] = {}
    size = 0
    for pass_id, card in passes.items():
        size += len(backlog.by_pass[pass_id]) + len(card.last_folded_ids)
        if chosen and size > MAX_IDS_CHECKED:
            break
        chosen[pass_id] = card
    return chosen


async def check_still_pending(worker: Worker, backlog: Backlog, passes: Mapping[str, Pass]) -> dict[str, PendingAt]:
    """Return which of the events read, their originals, and the `last_folded_ids` are pending now.

    The caller has read the passes. Ask for every pass, also for one that this process wrote and cleared last: after an
    election, a majority read may be older than acknowledged writes of the same process. (Source:
    docs/explanation/exactly-once.md.)
    """
    workspace_ids = {
        event_id: card.workspace_id
        for pass_id, card in passes.items()
        for event_id in ids_to_check(backlog.events_of(pass_id), card)
    }
    return await worker.fold_queries.still_pending(list(workspace_ids), workspace_ids=workspace_ids)


def ids_to_check(events: Sequence[Event], card: Pass) -> Iterable[str]:
    """Return the ids of the pending events of a pass, of the events that they correct, and of its last fold."""
    return (*(event.id for event in events), *originals_of(events), *card.last_folded_ids)


def classify(
    backlog: Backlog,
    passes: Mapping[str, Pass],
    still_pending: Mapping[str, PendingAt],
    definitions: Mapping[str, Definitions],
) -> FoldRound:
    """Decide for each pass what to do with its pending events."""
    fold_round = FoldRound()
    for pass_id, card in passes.items():
        events = backlog.events_of(pass_id)
        if is_erased(card):
            own = tombstone_id(pass_id)
            for event in events:
                # The erase stage empties the others: only it notes their hours before.
                if event.id == own:
                    fold_round.marks.append((card.workspace_id, pass_id, event.id))
        elif uncleared := pending_for_pass(card, card.last_folded_ids, still_pending):
            # The fold before this one crashed, or was slow, between its write and the clearing of its events.
            fold_round.marks.extend((card.workspace_id, pass_id, event_id) for event_id in uncleared)
            fold_round.decisions.update(card.decisions)
        elif is_merged(card):
            uncounted = set(pending_for_pass(card, [event.id for event in events], still_pending))
            fold_round.strays.extend((card, event) for event in events if event.id in uncounted)
        elif ready := find_ready(
            backlog, card, foldable := foldable_events(card, events, still_pending), still_pending
        ):
            limit = count_to_take(definitions[card.workspace_id].latest_active, ready)
            has_more = len(foldable) > min(limit, len(ready)) or pass_id in backlog.cut
            fold_round.works.append(PassWork(card, ready[:limit], has_more))
    return fold_round


def find_ready(
    backlog: Backlog, card: Pass, events: Sequence[Event], still_pending: Mapping[str, PendingAt]
) -> list[Event]:
    """Return the events that need not wait for others of the pass, in the order in which they count."""
    return without_waiting(events, still_pending, has_unread=card.id in backlog.cut)


def count_to_take(active: ActiveDefinitions, events: Sequence[Event]) -> int:
    """Return how many of the events one walk takes, at least one, so that its write stays small.

    An event makes up to two entries of the outbox, and each effect of a rule that it may cause up to three.
    """
    limit = min(MAX_EVENTS_PER_PASS, active.events_per_walk)
    if not active.rules:
        return limit
    entries = 0
    for count, event in enumerate(events[:limit]):
        entries += 2 + 3 * active.count_effects(event.type)
        if count and entries > MAX_ENTRIES:
            return count
    return limit


def is_erased(card: Pass) -> bool:
    """Return whether the pass is the stub of an erased one: nothing recorded on it later is kept."""
    return card.erased is not None


def is_merged(card: Pass) -> bool:
    """Return whether the pass is an alias: nothing counts there any more."""
    return card.alias_of is not None


def pending_for_pass(card: Pass, event_ids: Iterable[str], still_pending: Mapping[str, PendingAt]) -> list[str]:
    """Return which of the events are pending for this pass. Events counted before a merge may be pending for another."""
    return [each for each in event_ids if each in still_pending and still_pending[each].pass_id == card.id]


def foldable_events(card: Pass, events: Sequence[Event], still_pending: Mapping[str, PendingAt]) -> list[Event]:
    """Return the events to count: those pending now, less the targets of tombstones that the last write counted.

    A target and its tombstone may be read at different moments, so a removed event may still have looked pending.
    """
    removed = targets_of(card.last_folded_ids)
    return [event for event in events if event.id in still_pending and event.id not in removed]


def move_cursor(
    worker: Worker,
    key: str,
    backlog: Backlog,
    passes: Mapping[str, Pass],
    *,
    delayed: Collection[str] = (),
    is_cut: bool,
) -> bool:
    """Set where the next round of the range begins and return whether events before or behind it are left to read.

    The cursor wraps round, so that one pass with many events does not delay the others. If passes were `delayed`, because
    their workspace had taken its slice of time, the next round begins with the first of them. Otherwise new events of the
    passes before them would delay them in each round.
    """
    worker.cursors.pop(key, None)
    in_order = [pass_id for pass_id in passes if pass_id not in backlog.turns]
    reached = find_reached(in_order, delayed)
    if reached and (is_cut or len(reached) < len(in_order)):
        last = passes[reached[-1]]
        worker.cursors[key] = BacklogPosition(slot_of(last.id), last.workspace_id, last.id)
    return backlog.start is not None


def find_reached(in_order: Sequence[str], delayed: Collection[str]) -> Sequence[str]:
    """Return the passes before the first delayed one behind another that is not; all if there is none.

    So the next round begins behind at least one pass that was not delayed, and the rounds get on.
    """
    is_moving = False
    for number, pass_id in enumerate(in_order):
        if pass_id not in delayed:
            is_moving = True
        elif is_moving:
            return in_order[:number]
    return in_order
