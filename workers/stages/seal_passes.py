"""Seal passes: keep the sums of each pass by month and year of UTC, so that questions about customers read few documents.

The write that counts or removes an event also marks the month in the pass. This stage reads the pass, then the events that
count in that version of it. It inserts the sums under a token that follows from the version. One write then names the
token in the pass, if the pass still has that version. So sums that are named are those of the pass, whatever happens
meanwhile: every change of what counts is a write to the pass.

Sums that no pass names are deleted after a day: a query may still read them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import partial

from app.clock import system_ms
from app.domain.ids import slot_of
from app.domain.rollups.periods import ALL_MONTHS, LAST_MONTH, PassPeriod, is_month, months_of, sum_years, year_of
from app.domain.rollups.twelve_months import TwelveMonths, months_to_sum, sum_twelve_months
from app.flow import SLOT_RANGES
from app.store.stages.pass_periods import SealedPass, Sealing, valid_sums, valid_values
from workers.worker import Worker

from .count_active import count_active, mark_changed, mark_left

SEAL_BATCH_SIZE = 100
"""Passes that one step seals."""
DOUBT_SECONDS = 86_400
"""The time after which sums that no pass names are deleted."""


async def seal_passes(worker: Worker, key: str) -> None:
    """Seal the marked passes of a workspace in the worker's slots. Safe to repeat, and to run in several workers."""
    await worker.run_alone("seal_passes", key, lambda: seal_passes_once(worker, key))


async def seal_passes_once(worker: Worker, workspace_id: str) -> bool:
    """Run one round and return False. The round ends early while events wait to be counted: a later one continues."""
    low, high = worker.sharing.slots
    has_more = await mark_left(worker, workspace_id)
    dirty = await worker.pass_period_queries.dirty(workspace_id)
    chosen = [pass_id for pass_id in dirty if low <= slot_of(pass_id) <= high]
    for start in range(0, len(chosen), SEAL_BATCH_SIZE):
        await _seal(worker, workspace_id, chosen[start : start + SEAL_BATCH_SIZE])
        if worker.stopping or _is_busy(worker, workspace_id):
            break
    else:
        await count_active(worker, workspace_id, partial(_is_busy, worker, workspace_id))
        if len(dirty) == len(chosen) and not has_more:
            worker.looks.unsealed.discard(workspace_id)
    return False


async def delete_doubted(worker: Worker, now_ms: int) -> None:
    """Delete all sums that no pass has named for a day. `now_ms` is the time of the system. Safe to repeat.

    Each seal of a pass leaves some, so all of them must go: they would otherwise grow without end.
    """
    queries, before_ms = worker.pass_period_queries, now_ms - 1_000 * DOUBT_SECONDS
    while (docs := await queries.doubted(before_ms)) and not worker.stopping:
        await queries.decide_doubted(docs)


async def _seal(worker: Worker, workspace_id: str, pass_ids: Sequence[str]) -> None:
    election, queries = worker.last_election(), worker.pass_period_queries
    passes = {each.card.id: each for each in await queries.read(pass_ids, workspace_id)}
    if not passes:
        return
    whole = {period for each in passes.values() for period in _periods_of(each)}
    recent = {month for each in passes.values() for month in _months_to_sum(each)} - whole
    stored, stored_values = await asyncio.gather(
        queries.contents(passes, whole), queries.contents(passes, recent, are_values_enough=True)
    )
    values = {
        pass_id: valid_values(each, [*stored[pass_id], *stored_values[pass_id]]) for pass_id, each in passes.items()
    }
    sums = await _sum_months(worker, passes, values)
    sealings = [
        _build_sealing(each, sums[pass_id], valid_sums(each, stored[pass_id]), values[pass_id])
        for pass_id, each in passes.items()
    ]
    # A new primary may not have shown all events that count in the passes.
    worker.require_same_primary(election)
    now_ms = system_ms()
    await queries.insert(sealings, now_ms)
    named = await queries.commit(sealings)
    worker.count_writes(len(sealings), len(sealings) - len(named))
    done = [each for each in sealings if each.before.card.id in named]
    await mark_changed(worker, workspace_id, [recount for each in done if (recount := each.recount)])
    valid = [doc["_id"] for each in done for doc in each.docs()]
    doubted = [doc_id for each in done for doc_id in each.replaces(stored[each.before.card.id])]
    await queries.clear_doubt(workspace_id, valid, doubted, now_ms)


def _is_busy(worker: Worker, workspace_id: str) -> bool:
    """Return whether the worker folds or publishes now. Sums can wait, events cannot."""
    return worker.is_running("publish", workspace_id) or any(worker.is_running("fold", key) for key in SLOT_RANGES)


def _dirty_months(each: SealedPass) -> frozenset[int]:
    """Return the months of a pass whose events must be read, or ALL_MONTHS among them."""
    return each.card.dirty_months - {LAST_MONTH}


def _sealed_months(each: SealedPass) -> list[int]:
    return sorted(filter(is_month, each.tokens))


def _months_to_sum(each: SealedPass) -> Sequence[int]:
    """Return the sealed months whose values the sums of twelve months need, oldest first."""
    return months_to_sum(_sealed_months(each), each.card.dirty_months) or ()


def _periods_of(each: SealedPass) -> Iterable[int]:
    """Return the months and years whose sums must be read, or are replaced."""
    dirty = _dirty_months(each)
    if ALL_MONTHS in dirty:
        return each.tokens
    years = {year_of(month) for month in dirty}
    # The last one of these months may have sums of twelve months, or get some.
    last = _months_to_sum(each)[-1:]
    return {*years, *last, *(month for year in years for month in months_of(year) if month in each.tokens)}


async def _sum_months(
    worker: Worker, passes: Mapping[str, SealedPass], known: Mapping[str, Collection[int]]
) -> dict[str, dict[int, PassPeriod]]:
    """Return the sums of the months of each pass that are marked, or that are needed and not among the known ones."""
    wanted: dict[int, list[SealedPass]] = {}
    for pass_id, each in passes.items():
        dirty = _dirty_months(each)
        if ALL_MONTHS in dirty:
            wanted.setdefault(ALL_MONTHS, []).append(each)
            continue
        needed = {*filter(is_month, _periods_of(each)), *_months_to_sum(each)}
        for month in dirty | (needed - {*known[pass_id]}):
            wanted.setdefault(month, []).append(each)
    found: dict[str, dict[int, PassPeriod]] = {pass_id: {} for pass_id in passes}
    for month in sorted(wanted):
        cards = [each.card for each in wanted[month]]
        for pass_id, sums in (await worker.pass_period_queries.sums(cards, month)).items():
            empty = {} if month == ALL_MONTHS else {month: PassPeriod()}
            found[pass_id] |= empty | sums
    return found


def _build_sealing(
    each: SealedPass,
    computed: Mapping[int, PassPeriod],
    sealed: Mapping[int, PassPeriod],
    values: Mapping[int, Mapping[str, Decimal]],
) -> Sealing:
    """Return the sums that change: of months, of their years, and of what is sealed and has no event any more.

    The last months before and after are among them if the sums of twelve months change. `computed` was summed from events,
    `sealed` and `values` were read.
    """
    twelve = _sum_twelve_months(each, computed, values)
    if ALL_MONTHS in each.card.dirty_months:
        emptied = dict.fromkeys(each.tokens, PassPeriod())
        return Sealing(each, {**emptied, **computed, **sum_years(computed)}, twelve)
    years = {year_of(month) for month in _dirty_months(each)}
    months = {month: sums for month, sums in {**sealed, **computed}.items() if is_month(month)}
    of_years = {month: sums for month, sums in months.items() if year_of(month) in years}
    changed = {month: sums for month, sums in months.items() if month in twelve or month in computed.keys() & of_years}
    return Sealing(each, {**changed, **sum_years(of_years)}, twelve)


def _sum_twelve_months(
    each: SealedPass, computed: Mapping[int, PassPeriod], values: Mapping[int, Mapping[str, Decimal]]
) -> dict[int, Mapping[str, TwelveMonths]]:
    """Return the sums of twelve months of the last month, and none of the one that was last before.

    Without any month, they do not change.
    """
    needed = months_to_sum(_sealed_months(each), each.card.dirty_months)
    if needed is None:
        return {}
    months = {month: values[month] for month in needed if month in values}
    months |= {month: sums.values() for month, sums in computed.items() if not sums.is_empty}
    before: dict[int, Mapping[str, TwelveMonths]] = {
        month: {} for month in _sealed_months(each)[-1:] if month in needed
    }
    return before | ({max(months): sum_twelve_months(months)} if months else {})
