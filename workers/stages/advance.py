"""The write that fold, due and backfill share: walk many passes and save each by compare-and-set, in one round.

These are steps 5 and 6 of the fold in docs/explanation/exactly-once.md. The caller has read the passes, and the definitions
after them: that order carries the proof that no event counts twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from app.domain.activities import Entry, types_of
from app.domain.definitions import Definitions
from app.domain.events.events import Event
from app.domain.fold.advance import Advanced, advance
from app.domain.fold.prefetch import Prefetch, WindowPage, find_prefetch
from app.domain.passes.passes import Pass
from app.domain.values.instants import to_ms
from app.store.mongo.ids import new_id
from app.store.stages.fold import PARKED_AFTER
from app.telemetry import metrics
from workers.worker import Worker

from .shares import LONG_HISTORY, TimeSlices, choose_by_history

log = logging.getLogger(__name__)

MAX_OUTBOX_ENTRIES = 1_000


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
class ReadWork:
    """A pass to walk, with what was read for its walk: see `advance`."""

    work: PassWork
    history: Sequence[Event]
    pages: Mapping[str, WindowPage]
    moved_ids: Collection[str]


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

    A pass that another worker saved first is left out, and so are passes whose workspace has taken its slice of time. So is
    one whose outbox is full: publish is woken for it. A pass whose
    walk raises an exception is counted as failed; its fifth failure parks it.
    """
    full = {work.card.workspace_id for work in works if not _has_room(work)}
    worker.resources.bus.wake("publish", *full)
    prefetched = await _prefetch(worker, at, [work for work in works if _has_room(work)], definitions)
    saved: dict[str, Saved] = {}
    writes: list[tuple[Pass, Pass, Sequence[Entry], str]] = []
    slices = TimeSlices()
    for read in prefetched:
        work, card = read.work, read.work.card
        if slices.is_over(card.workspace_id):
            continue
        began = slices.now()
        try:
            walk = partial(
                advance,
                card,
                definitions[card.workspace_id],
                work.events,
                limit_ms=at.elapsed_ms,
                recorded_ms=at.now_ms,
                has_more=work.has_more,
                history=read.history,
                pages=read.pages,
                moved_ids=read.moved_ids,
            )
            advanced = walk() if len(read.history) < LONG_HISTORY else await asyncio.to_thread(walk)
        except Exception as error:  # noqa: BLE001  # an unknown bug in one pass must not stop the others
            await _count_failure(worker, at, card, error)
            continue
        finally:
            if slices.add(card.workspace_id, began):
                await asyncio.sleep(0)
        after = advanced.card
        if advanced.folded_ids:
            after = replace(after, last_folded_ids=advanced.folded_ids)
        saved[card.id] = Saved(advanced, new_id("fid"))
        writes.append((card, after, advanced.entries, saved[card.id].write_id))
    await _save(worker, at, writes, saved)
    _report(worker, saved)
    return saved


def _has_room(work: PassWork) -> bool:
    return len(work.card.outbox) + sum(len(types_of(event)) for event in work.events) <= MAX_OUTBOX_ENTRIES


async def _save(
    worker: Worker,
    at: RoundClock,
    writes: Sequence[tuple[Pass, Pass, Sequence[Entry], str]],
    saved: dict[str, Saved],
) -> None:
    """Write the passes and drop from `saved` those that another worker wrote first, or that the store refused."""
    ours, refused = await worker.fold_queries.save(writes)
    worker.count_writes(len(writes), len(writes) - len(ours) - len(refused))
    for before, _, _, _ in writes:
        if before.id not in ours:
            del saved[before.id]
            if before.id in refused:
                await _count_refusal(worker, at, before, refused[before.id])


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
) -> list[ReadWork]:
    """Read what each walk needs beforehand. Passes with too much history are left to the next round."""
    sized: list[tuple[tuple[PassWork, Prefetch], str, int]] = []
    for work in works:
        prefetch = find_prefetch(work.card, definitions[work.card.workspace_id], work.events, at.elapsed_ms)
        size = sum(row.count for row in work.card.aggregates.values()) if prefetch.history else 0
        sized.append(((work, prefetch), work.card.workspace_id, size))
    kept = choose_by_history(sized)
    histories = await worker.fold_queries.histories([work.card for work, prefetch in kept if prefetch.history])

    async def read_pages(work: PassWork, prefetch: Prefetch) -> dict[str, WindowPage]:
        pages = {}
        for key, (measure, after_ms) in prefetch.windows.items():
            expiring, has_more = await worker.fold_queries.expiring_events(work.card, measure, after_ms)
            pages[key] = WindowPage(after_ms=after_ms, expiring=expiring, has_more=has_more)
        return pages

    pages = await asyncio.gather(*(read_pages(work, prefetch) for work, prefetch in kept))
    moved_ids = await _find_moved(worker, [work for work, _ in kept], histories)
    return [
        ReadWork(work, histories.get(work.card.id, ()), page, moved_ids=moved_ids)
        for (work, _), page in zip(kept, pages, strict=True)
    ]


async def _find_moved(
    worker: Worker, works: Sequence[PassWork], histories: Mapping[str, Sequence[Event]]
) -> Collection[str]:
    """Return the ids that `advance` takes as `moved_ids`. Reads only if tombstones name events that were not read."""
    targets: dict[str, str] = {}
    for work in works:
        if removed := {event.removes for event in work.events if event.removes is not None}:
            removed -= {event.id for event in (*work.events, *histories.get(work.card.id, ()))}
            targets |= dict.fromkeys(removed, work.card.id)
    return await worker.merge_queries.published_elsewhere(targets) if targets else ()


async def _count_failure(worker: Worker, at: RoundClock, card: Pass, error: Exception) -> None:
    """Count a walk that raised an exception, a bug."""
    log.exception("pass %s could not be walked", card.id, exc_info=error)
    await _count(worker, at, card, f"{type(error).__name__}: {error}")


async def _count_refusal(worker: Worker, at: RoundClock, card: Pass, reason: str) -> None:
    """Count a write that the store refused, for example because the document would be too large."""
    failures = await _count(worker, at, card, f"The store refused the write: {reason}")
    if failures == 1:
        log.error("store refused a command: %s command=update collection=passes pass=%s", reason, card.id)


async def _count(worker: Worker, at: RoundClock, card: Pass, failure: str) -> int:
    failures = await worker.fold_queries.count_failure(card.id, failure, at.now_ms)
    if failures >= PARKED_AFTER:
        log.error("pass %s is parked after repeated failures; 'punchcard parked' lists it and runs it again", card.id)
    return failures
