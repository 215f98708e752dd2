"""The write that fold, due and backfill share: read, walk, compare-and-set, all for many passes in one round.

Steps 2 to 5 of the docs/explanation/exactly-once.md; the order of the reads carries the proof that no event is counted twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from app.domain.activities import Entry
from app.domain.events.events import Event
from app.domain.fold.advance import Advanced, advance
from app.domain.fold.prefetch import Needs, Refill, needs
from app.domain.passes.passes import Pass
from app.domain.segments.segments import Definitions
from app.domain.values.instants import to_ms
from app.store.mongo.ids import new_id
from app.telemetry import metrics
from workers.worker import Worker

log = logging.getLogger(__name__)

MAX_OUT = 1_000
READ_AT_ONCE = 50_000
"""Events of history read in one round, at most (but for a single pass with more)."""
YIELD_AFTER = 50


@dataclass(frozen=True, slots=True)
class Instants:
    """Read once, before anything else of a round: now, and the last instant that is over (see `Clock.elapsed`)."""

    now_ms: int
    elapsed_ms: int


@dataclass(frozen=True, slots=True)
class Work:
    """One pass to walk: as it was read, its pending events that are not counted yet, and whether more are pending."""

    card: Pass
    events: Sequence[Event] = ()
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Saved:
    """What was walked, and the random id of the write that saved it."""

    advanced: Advanced
    fid: str


async def instants(worker: Worker) -> Instants:
    """The instants of a round that begins now."""
    clock = worker.resources.clock
    elapsed = await clock.elapsed()
    now = await clock.now()
    return Instants(to_ms(now), to_ms(elapsed))


async def settle(
    worker: Worker, at: Instants, works: Sequence[Work], definitions: Mapping[str, Definitions]
) -> dict[str, Saved]:
    """Walks each pass and saves it; by pass id, what was saved. What another worker was faster with is left out.

    `definitions` must have been read after the passes were. A pass whose walk fails is counted, and parked at the fifth.
    """
    full = {w.card.workspace_id for w in works if len(w.card.out) + len(w.events) > MAX_OUT}
    works = [work for work in works if len(work.card.out) + len(work.events) <= MAX_OUT]
    worker.resources.bus.wake("publish", *full)
    fed = await _fed(worker, at, works, definitions)
    done: dict[str, Saved] = {}
    writes: list[tuple[Pass, Pass, Sequence[Entry], str]] = []
    for place, (work, history, refills) in enumerate(fed, start=1):
        card = work.card
        if place % YIELD_AFTER == 0:
            # A round of a thousand walks must not keep the other stages of this process waiting.
            await asyncio.sleep(0)
        try:
            advanced = advance(
                card,
                definitions[card.workspace_id],
                work.events,
                limit_ms=at.elapsed_ms,
                recorded_ms=at.now_ms,
                cut=work.cut,
                history=history,
                refills=refills,
            )
        except Exception as error:  # noqa: BLE001  # whatever it is, it must not stop the other passes
            await _failed(worker, at, card, error)
            continue
        after = advanced.card if not advanced.taken else replace(advanced.card, lb=advanced.taken)
        done[card.id] = Saved(advanced, new_id("fid"))
        writes.append((card, after, advanced.entries, done[card.id].fid))
    ours = await worker.pumps.save(writes)
    for before, _, _, fid in writes:
        if before.id not in ours:
            del done[before.id]
        elif not done[before.id].advanced.taken and worker.marked.get(before.id) == before.fid:
            # It counts what the write before it counted.
            worker.saw_marked(before.id, fid)
    for saved in done.values():
        for entry in saved.advanced.entries:
            if "segment" in entry.refs:
                metrics.FLIPS.labels("in" if entry.type.endswith(".entered") else "out").inc()
    worker.resources.bus.wake(
        "publish", *{w.card.workspace_id for w in works if w.card.id in done and done[w.card.id].advanced.entries}
    )
    cards = {key: saved.advanced.card for key, saved in done.items()}
    worker.resources.bus.wake("erase", *(key for key, card in cards.items() if card.erased is not None))
    worker.resources.bus.wake("merge", *(key for key, card in cards.items() if card.alias_of is not None))
    return done


async def _fed(
    worker: Worker, at: Instants, works: Sequence[Work], definitions: Mapping[str, Definitions]
) -> list[tuple[Work, Sequence[Event], dict[str, Refill]]]:
    """Each work with what its walk must read first. Works that would read too much at once wait for the next round."""
    wanted = [(w, needs(w.card, definitions[w.card.workspace_id], w.events, at.elapsed_ms)) for w in works]
    kept: list[tuple[Work, Needs]] = []
    reading = 0
    for work, need in wanted:
        size = sum(row.count for row in work.card.aggregates.values()) if need.history else 0
        if reading and reading + size > READ_AT_ONCE:
            continue
        reading += size
        kept.append((work, need))
    histories = await worker.pumps.histories([work.card for work, need in kept if need.history])

    async def refills(work: Work, need: Needs) -> dict[str, Refill]:
        found = {}
        for key, (measure, after_ms) in need.refills.items():
            leavers, more = await worker.pumps.leavers(work.card, measure, after_ms)
            found[key] = Refill(after_ms, leavers, more)
        return found

    refilled = await asyncio.gather(*(refills(work, need) for work, need in kept))
    return [(work, histories.get(work.card.id, ()), refill) for (work, _), refill in zip(kept, refilled, strict=True)]


async def _failed(worker: Worker, at: Instants, card: Pass, error: Exception) -> None:
    log.exception("pass %s could not be walked", card.id, exc_info=error)
    if await worker.pumps.failed(card.id, f"{type(error).__name__}: {error}", at.now_ms):
        log.error("pass %s is parked after repeated failures; see 'punchcard parked'", card.id)
