"""Erase: what is left of an erased pass is emptied, its events first, then its lines in the feed.

The fold has made a stub of the pass in one write, with `erasing` on it; the stub stays until nothing else is left, so that
whoever dies is followed by the next sweep. Lines are emptied once the outbox is empty: then the last line, and so every
earlier one, is in the log. A publisher that rendered them before and is late finds their ids taken, and brings nothing back.

Processes remember which passes there are. So before the name is given back, and the erasure said to be done, all of them are
made to forget, and given the time to: nothing that is acknowledged later is for a pass that is gone.
"""

from __future__ import annotations

import asyncio
import time

from app.domain.passes.passes import Erased, Pass
from app.domain.values.instants import to_ms
from app.store.cache import EPOCH_TTL_SECONDS
from workers.failures import log_failures
from workers.worker import Worker

CACHE_EXPIRY_SECONDS = EPOCH_TTL_SECONDS + 0.05
"""How long after a parting was made everybody has heard of it."""


async def erase(worker: Worker, key: str) -> None:
    """Empties what is left of an erased pass. Safe to repeat and to overlap."""
    await worker.run_alone("erase", key, lambda: erase_once(worker, key))


_guarded = log_failures("erase", erase)


async def erase_once(worker: Worker, pass_id: str) -> bool:
    """One round, and never another: what has to wait for publish is taken up again by the sweep."""
    now_ms = to_ms(await worker.resources.clock.now())
    card = (await worker.fold_queries.passes([pass_id])).get(pass_id)
    if card is None or (card.erased is None and card.alias_of is None):
        return False
    erased = card.erased or Erased(now_ms, 0, 0, ())
    if card.outbox:
        worker.resources.bus.wake("publish", card.workspace_id)
        return False
    aliases = await worker.merge_queries.aliases(card)
    for alias, moving in aliases:
        if moving:
            worker.resources.bus.wake("merge", alias.id)
            return False
        if alias.outbox:
            worker.resources.bus.wake("publish", card.workspace_id)
            return False
    parting = (card, *(alias for alias, _ in aliases))
    names = frozenset(each.id for each in parting)
    if names not in worker.epoch_changed_at:
        for each in parting:
            await _empty_activities(worker, each, now_ms)
        await worker.erase_queries.change_erasure_epoch(card)
        worker.remember_epoch_change(names, time.monotonic())
        if CACHE_EXPIRY_SECONDS > 0:
            worker.start_task(_later(worker, pass_id))
    if time.monotonic() < worker.epoch_changed_at[names] + CACHE_EXPIRY_SECONDS:
        return False
    # No name is free again before everything is empty; and what names the others is the last to go.
    for each in parting:
        await _empty_events(worker, each, now_ms)
    for alias, _ in aliases:
        await worker.erase_queries.finished(alias, Erased(erased.at_ms, 0, 0, ()))
    await worker.erase_queries.finished(card, erased)
    worker.epoch_changed_at.pop(names, None)
    return False


async def _later(worker: Worker, pass_id: str) -> None:
    """Takes it up again when everybody has heard."""
    await asyncio.sleep(CACHE_EXPIRY_SECONDS)
    await _guarded(worker, pass_id)


async def _empty_activities(worker: Worker, card: Pass, now_ms: int) -> None:
    """Empties the lines of a pass, and the events that came to it since."""
    await _empty_events(worker, card, now_ms)
    position: int | None = 0
    while position is not None:
        position = await worker.erase_queries.empty_activities(card, position)


async def _empty_events(worker: Worker, card: Pass, now_ms: int) -> None:
    while await worker.erase_queries.replace_events_by_stubs(card, now_ms):
        pass
