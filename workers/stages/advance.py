"""The write that fold, due and backfill share: walk many passes and save each by compare-and-set, in one round.

These are steps 5 and 6 of the fold in docs/explanation/exactly-once.md. The caller has read the passes, and the definitions
after them: that order carries the proof that no event counts twice.
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
"""Events of history that one round reads. A single pass with more is read alone."""
WALKS_PER_YIELD = 50
"""Walks after which the event loop runs other tasks: a round of 1,000 walks must not block the other stages."""


@dataclass(frozen=True, slots=True)
class RoundClock:
    """The clock as a round reads it, before anything else: now, and the last instant that is over (`Clock.elapsed`)."""

    now_ms: int
    elapsed_ms: int


@dataclass(frozen=True, slots=True)
class PassWork:
    """A pass to walk, its pending events that are not counted yet, and whether more are pending than these."""

    card: Pass
    events: Sequence[Event] = ()
    has_more: bool = False


@dataclass(frozen=True, slots=True)
class Saved:
    """The result of a walk, and the random id of the write that saved it."""

    advanced: Advanced
    write_id: str


async def read_clock(worker: Worker) -> RoundClock:
    """Read the clock for a round that begins now."""
    clock = worker.resources.clock
    elapsed = await clock.elapsed()
    now = await clock.now()
    return RoundClock(now_ms=to_ms(now), elapsed_ms=to_ms(elapsed))


async def advance_passes(
    worker: Worker, at: RoundClock, works: Sequence[PassWork], definitions: Mapping[str, Definitions]
) -> dict[str, Saved]:
    """Walk each pass, save it, and return by pass id what was saved.

    A pass that another worker saved first is left out. So is one whose outbox is full: publish is woken for it. A pass whose
    walk raises an exception is counted as failed; its fifth failure parks it.
    """
    full = {work.card.workspace_id for work in works if not _has_room(work)}
    worker.resources.bus.wake("publish", *full)
    prefetched = await _prefetch(worker, at, [work for work in works if _has_room(work)], definitions)
    saved: dict[str, Saved] = {}
    writes: list[tuple[Pass, Pass, Sequence[Entry], str]] = []
    for number, (work, history, pages) in enumerate(prefetched, start=1):
        card = work.card
        if number % WALKS_PER_YIELD == 0:
            await asyncio.sleep(0)
        try:
            advanced = advance(
                card,
                definitions[card.workspace_id],
                work.events,
                limit_ms=at.elapsed_ms,
                recorded_ms=at.now_ms,
                has_more=work.has_more,
                history=history,
                pages=pages,
            )
        except Exception as error:  # noqa: BLE001  # an unknown bug in one pass must not stop the others
            await _count_failure(worker, at, card, error)
            continue
        after = advanced.card
        if advanced.folded_ids:
            after = replace(after, last_folded_ids=advanced.folded_ids)
        saved[card.id] = Saved(advanced, new_id("fid"))
        writes.append((card, after, advanced.entries, saved[card.id].write_id))
    await _save(worker, writes, saved)
    _report(worker, saved)
    return saved


def _has_room(work: PassWork) -> bool:
    return len(work.card.outbox) + len(work.events) <= MAX_OUTBOX_ENTRIES


async def _save(
    worker: Worker, writes: Sequence[tuple[Pass, Pass, Sequence[Entry], str]], saved: dict[str, Saved]
) -> None:
    """Write the passes and drop from `saved` those that another worker wrote first."""
    ours = await worker.fold_queries.save(writes)
    for before, _, _, write_id in writes:
        if before.id not in ours:
            del saved[before.id]
        elif not saved[before.id].advanced.folded_ids and worker.cleared_writes.get(before.id) == before.write_id:
            # A write without events keeps `last_folded_ids`, and those of the write before it are cleared.
            worker.remember_cleared(before.id, write_id)


def _report(worker: Worker, saved: Mapping[str, Saved]) -> None:
    """Count the transitions and wake the stages that continue: publish, erase, merge."""
    cards = {pass_id: each.advanced.card for pass_id, each in saved.items()}
    for each in saved.values():
        for entry in each.advanced.entries:
            if "segment" in entry.refs:
                metrics.TRANSITIONS.labels("in" if entry.type.endswith(".entered") else "out").inc()
    bus = worker.resources.bus
    bus.wake("publish", *{cards[pass_id].workspace_id for pass_id, each in saved.items() if each.advanced.entries})
    bus.wake("erase", *(pass_id for pass_id, card in cards.items() if card.erased is not None))
    bus.wake("merge", *(pass_id for pass_id, card in cards.items() if card.alias_of is not None))


async def _prefetch(
    worker: Worker, at: RoundClock, works: Sequence[PassWork], definitions: Mapping[str, Definitions]
) -> list[tuple[PassWork, Sequence[Event], dict[str, WindowPage]]]:
    """Read what each walk needs beforehand. Passes beyond MAX_HISTORY_EVENTS are left to the next round."""
    wanted = [
        (work, find_prefetch(work.card, definitions[work.card.workspace_id], work.events, at.elapsed_ms))
        for work in works
    ]
    kept: list[tuple[PassWork, Prefetch]] = []
    reading = 0
    for work, prefetch in wanted:
        size = sum(row.count for row in work.card.aggregates.values()) if prefetch.history else 0
        if reading and reading + size > MAX_HISTORY_EVENTS:
            continue
        reading += size
        kept.append((work, prefetch))
    histories = await worker.fold_queries.histories([work.card for work, prefetch in kept if prefetch.history])

    async def read_pages(work: PassWork, prefetch: Prefetch) -> dict[str, WindowPage]:
        pages = {}
        for key, (measure, after_ms) in prefetch.windows.items():
            expiring, has_more = await worker.fold_queries.expiring_events(work.card, measure, after_ms)
            pages[key] = WindowPage(after_ms=after_ms, expiring=expiring, has_more=has_more)
        return pages

    pages = await asyncio.gather(*(read_pages(work, prefetch) for work, prefetch in kept))
    return [(work, histories.get(work.card.id, ()), page) for (work, _), page in zip(kept, pages, strict=True)]


async def _count_failure(worker: Worker, at: RoundClock, card: Pass, error: Exception) -> None:
    log.exception("pass %s could not be walked", card.id, exc_info=error)
    if await worker.fold_queries.count_failure(card.id, f"{type(error).__name__}: {error}", at.now_ms):
        log.error("pass %s is parked after repeated failures; 'punchcard parked' lists it and runs it again", card.id)
