"""Due: advance the passes whose next transition or end of points by time alone has come. An index finds exactly these."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from app.domain.definitions import Definitions
from app.domain.passes.passes import Pass
from workers.laps import LOOK_SIZE, STORED_LATE_MS, Lap
from workers.worker import Worker

from .advance import RoundClock, advance_passes, read_clock
from .reads import PassWork

DUE_BATCH_SIZE = 500


async def due(worker: Worker, key: str) -> None:
    """Advance the due passes of a slot range until none is left. Safe to repeat, and to run in several workers at once."""
    await worker.run_alone("due", key, lambda: due_once(worker, key))


async def due_once(worker: Worker, key: str) -> bool:
    """Run one round and return whether it saved anything, so that more may be due."""
    bounds = worker.sharing.bounds("due", key)
    if bounds is None:
        return False
    at = await read_clock(worker)
    lap = worker.laps.pop(("due", key), None)
    if lap is None or lap.subject != bounds or at.elapsed_ms < lap.until_ms:
        lap = Lap(subject=bounds)
    if not lap.passes:
        if not lap.is_cut:
            # Once the fold of the range is at rest, no pass that the lap left out has pending events.
            is_folding = worker.is_running("fold", key)
            if not is_folding or not lap.should_go_on:
                lap = Lap(subject=bounds, blocked=lap.blocked if is_folding else {})
            lap.examine_again()
        lap.looks += 1
        await _read_due(worker, lap, bounds, at.elapsed_ms)
    return await advance_lap(worker, ("due", key), lap, DUE_BATCH_SIZE, at)


async def _read_due(worker: Worker, lap: Lap, bounds: tuple[int, int], elapsed_ms: int) -> None:
    """Add the passes to a lap that are due and that it has not read, or that were stored late."""
    overlap_ms = 0 if lap.is_cut else STORED_LATE_MS
    found, read = await worker.fold_queries.due_within(
        *bounds, elapsed_ms, LOOK_SIZE, from_ms=max(0, lap.until_ms + 1 - overlap_ms), horizon=lap.horizon
    )
    lap.add(found)
    lap.horizon = read.after([each.due_ms for each in found], LOOK_SIZE, elapsed_ms)
    # A read whose horizon lies beyond now has found all that is due.
    lap.is_cut = len(found) == LOOK_SIZE or (read.until_ms is not None and read.until_ms <= elapsed_ms)
    if not lap.is_cut:
        lap.until_ms = elapsed_ms
    elif len(found) < LOOK_SIZE:
        lap.until_ms = (read.until_ms or 0) - 1
    else:
        # More passes may be due at the last instant. If all are due at one instant, the next lap reads the others.
        lap.until_ms = max(found[-1].due_ms - 1, found[0].due_ms)


async def advance_lap(worker: Worker, running: tuple[str, str], lap: Lap, count: int, at: RoundClock) -> bool:
    """Advance the next passes of a lap, and return whether more may follow.

    The lap continues in the next round of the stage and key `running`. Passes for which the round had no time come at its
    end again.
    """
    taken = lap.take(count)
    round_ = await advance_without_events(worker, {each.pass_id: each.workspace_id for each in taken}, at)
    lap.saved += len(round_.saved)
    lap.block(taken, round_.blocked)
    if round_.saved:
        lap.passes += [each for each in taken if each.pass_id in round_.unsaved]
    worker.laps[running] = lap
    if lap.passes or lap.is_cut:
        return True
    has_saved, lap.saved = lap.saved > 0, 0
    return has_saved


@dataclass(frozen=True, slots=True)
class DueRound:
    """What one round did: the passes saved, those behind that it did not save, and those left to the fold."""

    saved: Collection[str] = ()
    unsaved: Collection[str] = ()
    blocked: Collection[str] = ()


async def advance_without_events(worker: Worker, workspace_ids: Mapping[str, str], at: RoundClock) -> DueRound:
    """Advance passes to now without events, and return what was done. The fold advances those with pending events.

    `workspace_ids` has the workspace of each pass, by pass id.

    Look for pending events before reading the passes, and read the definitions after them.
    (Source: docs/explanation/exactly-once.md.)
    """
    if not workspace_ids:
        return DueRound()
    with_pending = await worker.fold_queries.with_pending(workspace_ids)
    for pass_id in with_pending:
        worker.resources.wake_fold(workspace_ids[pass_id], [pass_id])
    others = [pass_id for pass_id in workspace_ids if pass_id not in with_pending]
    cards = await worker.fold_queries.passes(others, workspace_ids=workspace_ids)
    definitions = await worker.definitions.read({card.workspace_id for card in cards.values()}, cards.values())
    readable = [card for card in cards.values() if card.workspace_id in definitions]
    works = [PassWork(card) for card in readable if _is_behind(card, definitions[card.workspace_id], at)]
    saved = await advance_passes(worker, at, works, definitions)
    return DueRound(saved, {work.card.id for work in works if work.card.id not in saved}, with_pending)


def _is_behind(card: Pass, definitions: Definitions, at: RoundClock) -> bool:
    """Return whether time alone may change the pass, or a later revision. Another worker may have advanced it meanwhile."""
    if card.erased is not None or card.alias_of is not None:
        return False
    return card.revision < definitions.announced_revision or (
        card.next_due_ms is not None and card.next_due_ms <= at.elapsed_ms
    )


async def next_due_ms(worker: Worker, now_ms: int, within_ms: int) -> list[tuple[str, int]]:
    """Return (pass id, due ms) of the worker's passes due later than now and within a short time, soonest first."""
    low, high = worker.sharing.slots
    found = await worker.fold_queries.due(low, high, now_ms + within_ms, DUE_BATCH_SIZE, from_ms=now_ms + 1)
    return [(each.pass_id, each.due_ms) for each in found]
