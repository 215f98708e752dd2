"""Due: advance the passes whose next transition or end of points by time alone has come. An index finds exactly these."""

from __future__ import annotations

from collections.abc import Mapping

from app.domain.definitions import Definitions
from app.domain.ids import slot_of
from app.domain.passes.passes import Pass
from app.flow import range_of
from workers.laps import LOOK_SIZE, Lap
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
    if lap is None or lap.subject != bounds:
        found = await worker.fold_queries.due(*bounds, at.elapsed_ms, LOOK_SIZE)
        lap = Lap([(each.pass_id, each.workspace_id) for each in found], bounds)
    return await advance_lap(worker, ("due", key), lap, DUE_BATCH_SIZE, at)


async def advance_lap(worker: Worker, running: tuple[str, str], lap: Lap, count: int, at: RoundClock) -> bool:
    """Advance the next passes of a lap, and return whether more may follow.

    The lap continues in the next round of the stage and key `running`.
    """
    lap.saved += await advance_without_events(worker, dict(lap.take(count)), at)
    if not lap.passes:
        return lap.saved > 0
    worker.laps[running] = lap
    return True


async def advance_without_events(worker: Worker, workspace_ids: Mapping[str, str], at: RoundClock) -> int:
    """Advance passes to now without events and return how many were saved. The fold advances those with pending events.

    `workspace_ids` has the workspace of each pass, by pass id.

    Look for pending events before reading the passes, and read the definitions after them.
    (Source: docs/explanation/exactly-once.md.)
    """
    if not workspace_ids:
        return 0
    with_pending = await worker.fold_queries.with_pending(workspace_ids)
    worker.resources.bus.wake("fold", *{range_of(slot_of(pass_id)) for pass_id in with_pending})
    cards = await worker.fold_queries.passes([pass_id for pass_id in workspace_ids if pass_id not in with_pending])
    definitions = await worker.read_definitions({card.workspace_id for card in cards.values()}, cards.values())
    works = [PassWork(card) for card in cards.values() if _is_behind(card, definitions[card.workspace_id], at)]
    return len(await advance_passes(worker, at, works, definitions))


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
