"""Due: passes whose next flip or end of points by time alone has come are walked; found by index, none looked at in vain."""

from __future__ import annotations

from app.domain.ids import SLOTS, slot_of
from app.flow import bounds_of, range_of
from workers.worker import Worker

from .advance import PassWork, RoundClock, advance_passes, read_clock

DUE_BATCH_SIZE = 500


async def due(worker: Worker, key: str) -> None:
    """Walks what is due in a range of slots until nothing is. Safe to repeat and to overlap."""
    await worker.run_alone("due", key, lambda: due_once(worker, key))


async def due_once(worker: Worker, key: str) -> bool:
    """One round; whether it moved something and there may be more."""
    low, high = bounds_of(key)
    at = await read_clock(worker)
    found = await worker.fold_queries.due(low, high, at.elapsed_ms, DUE_BATCH_SIZE)
    return await advance_without_events(worker, [pass_id for pass_id, _ in found], at) > 0


async def advance_without_events(worker: Worker, pass_ids: list[str], at: RoundClock) -> int:
    """How many of the passes were walked to now without events. Those with events waiting are left to the fold.

    Pending events are looked for before the passes are read, and the definitions after. (Source: docs/explanation/exactly-once.md.)
    """
    if not pass_ids:
        return 0
    busy = await worker.fold_queries.with_pending(pass_ids)
    worker.resources.bus.wake("fold", *{range_of(slot_of(pass_id)) for pass_id in busy})
    cards = await worker.fold_queries.passes([pass_id for pass_id in pass_ids if pass_id not in busy])
    definitions = await worker.read_definitions({card.workspace_id for card in cards.values()})
    works = [PassWork(card) for card in cards.values() if card.erased is None and card.alias_of is None]
    return len(await advance_passes(worker, at, works, definitions))


async def next_due_ms(worker: Worker, now_ms: int, within_ms: int) -> list[tuple[str, int]]:
    """(pass, due ms) of those due after now and within a short time, soonest first: what a timer can be set for."""
    found = await worker.fold_queries.due(0, SLOTS - 1, now_ms + within_ms, DUE_BATCH_SIZE)
    return [(pass_id, at) for pass_id, at in found if at > now_ms]
