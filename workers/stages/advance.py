"""The write that fold, due and backfill share: walk many passes and save each by compare-and-set, in one round.

These are steps 5 and 6 of the fold in docs/explanation/exactly-once.md. The caller has read the passes, and the definitions
after them: that order carries the proof that no event counts twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from app.domain.activities import Entry, types_of
from app.domain.definitions import Definitions
from app.domain.fold.advance import Advanced, advance
from app.domain.fold.lacks import Lacks
from app.domain.passes.passes import Pass
from app.domain.values.instants import to_ms
from app.store.mongo.ids import new_id
from app.store.stages.fold import PARKED_AFTER
from app.telemetry import metrics
from workers.worker import Worker

from .reads import PassWork, ReadWork, read_for_walks, read_what_lacked
from .shares import LONG_HISTORY, TimeSlices

Key = TypeVar("Key")
log = logging.getLogger(__name__)

MAX_OUTBOX_ENTRIES = 1_000
MAX_REPEATS = 5
"""Repeats of a walk, each after reading what the walk before it lacked."""


@dataclass(frozen=True, slots=True)
class RoundClock:
    """The clock as a round reads it, before anything else: now, and the last instant that is over (`Clock.elapsed`).

    `election` is the last election of a primary before the round.
    """

    now_ms: int
    elapsed_ms: int
    election: object = None


@dataclass(frozen=True, slots=True)
class Saved:
    """The result of a walk, and the random id of the write that saved it."""

    advanced: Advanced
    write_id: str


async def read_clock(worker: Worker) -> RoundClock:
    """Read the clock for a round that begins now."""
    clock, election = worker.resources.clock, worker.last_election()
    elapsed = await clock.elapsed()
    now = await clock.now()
    return RoundClock(now_ms=to_ms(now), elapsed_ms=to_ms(elapsed), election=election)


async def advance_passes(
    worker: Worker,
    at: RoundClock,
    works: Sequence[PassWork],
    definitions: Mapping[str, Definitions],
    slices: TimeSlices | None = None,
) -> dict[str, Saved]:
    """Walk each pass, save it, and return by pass id what was saved.

    A pass that another worker saved first is left out, and so are passes whose workspace has taken its slice of time, which
    `slices` then has. So is one whose outbox is full: publish is woken for it. A pass whose walk raises an exception is
    counted as failed; its fifth failure parks it.
    """
    full = {work.card.workspace_id for work in works if not _has_room(work)}
    worker.resources.bus.wake("publish", *full)
    room = [work for work in works if _has_room(work)]
    walks = _Walks(worker, at, definitions, slices=slices or TimeSlices())
    await walks.run(await read_for_walks(worker, at.elapsed_ms, room, definitions))
    saved: dict[str, Saved] = {}
    writes: list[tuple[Pass, Pass, Sequence[Entry], str]] = []
    for card, advanced in walks.done:
        saved[card.id] = Saved(advanced, new_id("fid"))
        writes.append((card, advanced.card, advanced.entries, saved[card.id].write_id))
    await _save(worker, at, writes, saved)
    worker.looks.unsealed |= {
        card.workspace_id
        for card in (each.advanced.card for each in saved.values())
        if card.dirty_months or card.has_ended
    }
    _report(worker, saved)
    _count_rules(worker, at, saved)
    return saved


class _Walks:
    """The walks of one round. `done` has the pass as read and the result of each walk that lacked nothing."""

    def __init__(
        self, worker: Worker, at: RoundClock, definitions: Mapping[str, Definitions], *, slices: TimeSlices
    ) -> None:
        self.done: list[tuple[Pass, Advanced]] = []
        self._worker, self._at, self._definitions = worker, at, definitions
        self._slices = slices

    async def run(self, reads: Sequence[ReadWork]) -> None:
        """Walk each pass, again after reading what its walk lacked.

        After MAX_REPEATS, the walk ends before the instant at which it lacks something. If that is its first instant, the
        walk counts as failed.
        """
        for _ in range(MAX_REPEATS):
            lacking = await self._walk_all(reads)
            if not lacking:
                return
            reads = await read_what_lacked(self._worker, lacking)
        for read, lacks in await self._walk_all(reads):
            if lacks.is_first:
                error = RuntimeError(f"the walk still lacks data at {lacks.at_ms} after {MAX_REPEATS} reads")
                await _count_failure(self._worker, self._at, read.work.card, error)
            else:
                await self._walk_all([replace(read, before_ms=lacks.at_ms)])

    async def _walk_all(self, reads: Sequence[ReadWork]) -> list[tuple[ReadWork, Lacks]]:
        """Walk each pass once, and return those whose walk lacked something, with what it lacked."""
        lacking = []
        for read in reads:
            card = read.work.card
            if self._slices.is_over(card.workspace_id):
                continue
            began = self._slices.now()
            try:
                result = await self._walk(read)
            except Exception as error:  # noqa: BLE001  # an unknown bug in one pass must not stop the others
                await _count_failure(self._worker, self._at, card, error)
                continue
            finally:
                if self._slices.add(card.workspace_id, began):
                    await asyncio.sleep(0)
            if isinstance(result, Lacks):
                lacking.append((read, result))
            else:
                self.done.append((card, result))
        return lacking

    async def _walk(self, read: ReadWork) -> Advanced | Lacks:
        work, card = read.work, read.work.card
        walk = partial(
            advance,
            card,
            self._definitions[card.workspace_id],
            work.events,
            limit_ms=self._at.elapsed_ms,
            recorded_ms=self._at.now_ms,
            has_more=work.has_more,
            history=read.history,
            pages=read.pages,
            moved_ids=read.moved_ids,
            families=read.families,
            texts=self._worker.texts,
            before_ms=read.before_ms,
        )
        return walk() if len(read.history or ()) < LONG_HISTORY else await asyncio.to_thread(walk)


def _has_room(work: PassWork) -> bool:
    return len(work.card.outbox) + sum(len(types_of(event)) for event in work.events) <= MAX_OUTBOX_ENTRIES


async def _save(
    worker: Worker,
    at: RoundClock,
    writes: Sequence[tuple[Pass, Pass, Sequence[Entry], str]],
    saved: dict[str, Saved],
) -> None:
    """Write the passes and drop from `saved` those that another worker wrote first, or that the store refused.

    Raises Unavailable if a primary was elected since the round began: the events that the round read last may be older than
    the passes.
    """
    if writes:
        worker.require_same_primary(at.election)
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


def _count_rules(worker: Worker, at: RoundClock, saved: Mapping[str, Saved]) -> None:
    """Count what rules were asked about, in memory only.

    The counts of a workspace are added up first: for each pass alone, they would cost a third of what its rules do.
    """
    matched: dict[str, dict[str, int]] = {}
    skipped: dict[str, dict[tuple[str, str], int]] = {}
    for each in saved.values():
        advanced, workspace_id = each.advanced, each.advanced.card.workspace_id
        if advanced.matched:
            _add_counts(matched.setdefault(workspace_id, {}), advanced.matched)
            _add_counts(skipped.setdefault(workspace_id, {}), advanced.skipped)
    for workspace_id, counts in matched.items():
        worker.diagnostics.add(workspace_id, at.now_ms, counts, skipped[workspace_id])


def _add_counts(total: dict[Key, int], counts: Mapping[Key, int]) -> None:
    for key, number in counts.items():
        total[key] = total.get(key, 0) + number


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
    failures = await worker.fold_queries.count_failure(card, failure, at.now_ms)
    if failures >= PARKED_AFTER:
        log.error(
            "pass %s is parked after repeated failures; `punchcard parked` lists it, and --rerun releases it", card.id
        )
    return failures
