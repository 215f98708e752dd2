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
from app.domain.fold.prefetch import Prefetch, WindowPage, find_prefetch
from app.domain.passes.passes import Pass
from app.domain.segments.segments import Definitions
from app.domain.values.instants import to_ms
from app.store.mongo.ids import new_id
from app.telemetry import metrics
from workers.worker import Worker

log = logging.getLogger(__name__)

MAX_OUTBOX_ENTRIES = 1_000
MAX_HISTORY_EVENTS = 50_000
"""Events of history read in one round, at most (but for a single pass with more)."""
WALKS_PER_YIELD = 50


@dataclass(frozen=True, slots=True)
class RoundClock:
    """Read once, before anything else of a round: now, and the last instant that is over (see `Clock.elapsed`)."""

    now_ms: int
    elapsed_ms: int


@dataclass(frozen=True, slots=True)
class PassWork:
    """One pass to walk: as it was read, its pending events that are not counted yet, and whether more are pending."""

    card: Pass
    events: Sequence[Event] = ()
    has_more: bool = False


@dataclass(frozen=True, slots=True)
class Saved:
    """What was walked, and the random id of the write that saved it."""

    advanced: Advanced
    write_id: str


async def read_clock(worker: Worker) -> RoundClock:
    """The instants of a round that begins now."""
    clock = worker.resources.clock
    elapsed = await clock.elapsed()
    now = await clock.now()
    return RoundClock(to_ms(now), to_ms(elapsed))


async def advance_passes(
    worker: Worker, at: RoundClock, works: Sequence[PassWork], definitions: Mapping[str, Definitions]
) -> dict[str, Saved]:
    """Walks each pass and saves it; by pass id, what was saved. What another worker was faster with is left out.

    `definitions` must have been read after the passes were. A pass whose walk fails is counted, and parked at the fifth.
    """
    full = {w.card.workspace_id for w in works if len(w.card.outbox) + len(w.events) > MAX_OUTBOX_ENTRIES}
    works = [work for work in works if len(work.card.outbox) + len(work.events) <= MAX_OUTBOX_ENTRIES]
    worker.resources.bus.wake("publish", *full)
    fed = await _prefetch(worker, at, works, definitions)
    done: dict[str, Saved] = {}
    writes: list[tuple[Pass, Pass, Sequence[Entry], str]] = []
    for place, (work, history, refills) in enumerate(fed, start=1):
        card = work.card
        if place % WALKS_PER_YIELD == 0:
            # A round of a thousand walks must not keep the other stages of this process waiting.
            await asyncio.sleep(0)
        try:
            advanced = advance(
                card,
                definitions[card.workspace_id],
                work.events,
                limit_ms=at.elapsed_ms,
                recorded_ms=at.now_ms,
                cut=work.has_more,
                history=history,
                refills=refills,
            )
        except Exception as error:  # noqa: BLE001  # whatever it is, it must not stop the other passes
            await _count_failure(worker, at, card, error)
            continue
        after = advanced.card if not advanced.folded_ids else replace(advanced.card, last_folded_ids=advanced.folded_ids)
        done[card.id] = Saved(advanced, new_id("fid"))
        writes.append((card, after, advanced.entries, done[card.id].write_id))
    ours = await worker.fold_queries.save(writes)
    for before, _, _, fid in writes:
        if before.id not in ours:
            del done[before.id]
        elif not done[before.id].advanced.folded_ids and worker.cleared_writes.get(before.id) == before.write_id:
            # It counts what the write before it counted.
            worker.remember_cleared(before.id, fid)
    for saved in done.values():
        for entry in saved.advanced.entries:
            if "segment" in entry.refs:
                metrics.TRANSITIONS.labels("in" if entry.type.endswith(".entered") else "out").inc()
    worker.resources.bus.wake(
        "publish", *{w.card.workspace_id for w in works if w.card.id in done and done[w.card.id].advanced.entries}
    )
    cards = {key: saved.advanced.card for key, saved in done.items()}
    worker.resources.bus.wake("erase", *(key for key, card in cards.items() if card.erased is not None))
    worker.resources.bus.wake("merge", *(key for key, card in cards.items() if card.alias_of is not None))
    return done


async def _prefetch(
    worker: Worker, at: RoundClock, works: Sequence[PassWork], definitions: Mapping[str, Definitions]
) -> list[tuple[PassWork, Sequence[Event], dict[str, WindowPage]]]:
    """Each work with what its walk must read first. Works that would read too much at once wait for the next round."""
    wanted = [(w, find_prefetch(w.card, definitions[w.card.workspace_id], w.events, at.elapsed_ms)) for w in works]
    kept: list[tuple[PassWork, Prefetch]] = []
    reading = 0
    for work, need in wanted:
        size = sum(row.count for row in work.card.aggregates.values()) if need.history else 0
        if reading and reading + size > MAX_HISTORY_EVENTS:
            continue
        reading += size
        kept.append((work, need))
    histories = await worker.fold_queries.histories([work.card for work, need in kept if need.history])

    async def refills(work: PassWork, need: Prefetch) -> dict[str, WindowPage]:
        found = {}
        for key, (measure, after_ms) in need.windows.items():
            leavers, more = await worker.fold_queries.expiring_events(work.card, measure, after_ms)
            found[key] = WindowPage(after_ms, leavers, more)
        return found

    refilled = await asyncio.gather(*(refills(work, need) for work, need in kept))
    return [(work, histories.get(work.card.id, ()), refill) for (work, _), refill in zip(kept, refilled, strict=True)]


async def _count_failure(worker: Worker, at: RoundClock, card: Pass, error: Exception) -> None:
    log.exception("pass %s could not be walked", card.id, exc_info=error)
    if await worker.fold_queries.count_failure(card.id, f"{type(error).__name__}: {error}", at.now_ms):
        log.error("pass %s is parked after repeated failures; see 'punchcard parked'", card.id)
