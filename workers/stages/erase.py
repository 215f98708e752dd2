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
from app.store.cache import HEARD_SECONDS
from workers.failures import guarded
from workers.worker import Worker

PARTED_SECONDS = HEARD_SECONDS + 0.05
"""How long after a parting was made everybody has heard of it."""


async def erase(worker: Worker, key: str) -> None:
    """Empties what is left of an erased pass. Safe to repeat and to overlap."""
    await worker.alone("erase", key, lambda: erase_once(worker, key))


_guarded = guarded("erase", erase)


async def erase_once(worker: Worker, pass_id: str) -> bool:
    """One round, and never another: what has to wait for publish is taken up again by the sweep."""
    now_ms = to_ms(await worker.resources.clock.now())
    card = (await worker.pumps.passes([pass_id])).get(pass_id)
    if card is None or (card.erased is None and card.alias_of is None):
        return False
    erased = card.erased or Erased(now_ms, 0, 0, ())
    if card.out:
        worker.resources.bus.wake("publish", card.workspace_id)
        return False
    aliases = await worker.merges.aliases(card)
    for alias, moving in aliases:
        if moving:
            worker.resources.bus.wake("merge", alias.id)
            return False
        if alias.out:
            worker.resources.bus.wake("publish", card.workspace_id)
            return False
    parting = (card, *(alias for alias, _ in aliases))
    names = frozenset(each.id for each in parting)
    if names not in worker.parted:
        for each in parting:
            await _emptied(worker, each, now_ms)
        await worker.erasures.part(card)
        worker.saw_parted(names, time.monotonic())
        if PARTED_SECONDS > 0:
            worker.begin(_later(worker, pass_id))
    if time.monotonic() < worker.parted[names] + PARTED_SECONDS:
        return False
    # No name is free again before everything is empty; and what names the others is the last to go.
    for each in parting:
        await _emptied_events(worker, each, now_ms)
    for alias, _ in aliases:
        await worker.erasures.finished(alias, Erased(erased.at_ms, 0, 0, ()))
    await worker.erasures.finished(card, erased)
    worker.parted.pop(names, None)
    return False


async def _later(worker: Worker, pass_id: str) -> None:
    """Takes it up again when everybody has heard."""
    await asyncio.sleep(PARTED_SECONDS)
    await _guarded(worker, pass_id)


async def _emptied(worker: Worker, card: Pass, now_ms: int) -> None:
    """Empties the lines of a pass, and the events that came to it since."""
    await _emptied_events(worker, card, now_ms)
    position: int | None = 0
    while position is not None:
        position = await worker.erasures.empty_activities(card, position)


async def _emptied_events(worker: Worker, card: Pass, now_ms: int) -> None:
    while await worker.erasures.empty_events(card, now_ms):
        pass
