"""verifyProjection: compare passes and rollups with the events that they are made of. Nothing else is written.

First come the passes, then the rollups, day by day. A month is compared after the last of its days.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from app.clock import SystemClock
from app.domain.fold.recomputation import Difference
from app.domain.insights.verification import VerificationOrder, Verified
from app.domain.jobs import Tally
from app.domain.rollups.levels import Level
from app.domain.rollups.periods import month_of, year_of
from app.domain.rollups.plans import Period
from app.domain.values.instants import DAY_MS, format_instant, from_ms, to_ms
from app.store.mongo.paging import PageRequest
from app.store.operations.active_count_check import ActiveCountCheck
from app.store.operations.recomputation import PASSES_AT_ONCE, Comparison, DeepCheck
from app.store.operations.rollup_check import ComparedRollups, RollupCheck

from .lease import JobLease

VERIFICATION_BATCH_SIZE = 5 * PASSES_AT_ONCE
"""Passes that one batch compares."""
DIFFERENCES_LISTED = 100
"""Differences of one pass or rollup that the report lists."""
_LEVEL_NAMES = {Level.HOUR: "HOUR", Level.DAY: "DAY", Level.MONTH: "MONTH"}


async def run_verification(lease: JobLease) -> bool:
    """Compare for one slice of time and return whether all was compared."""
    order = lease.run.order
    assert isinstance(order, VerificationOrder)
    db, in_chunk = lease.worker.resources.db, lease.worker.resources.in_chunk
    rollups = RollupCheck(db, lease.run.workspace_id, in_chunk)
    if lease.run.position is None:
        days = await _days_of(order, rollups)
        passes = await lease.workspace.passes.count() if order.pass_ids is None else len(order.pass_ids)
        position = {"after": None, "passed": passes == 0, "days": days, "sum": Verified().to_dict()}
        total = passes + (0 if days is None else (days[1] - days[0]) // DAY_MS)
        if not await lease.commit(position, Tally(), total):
            return False
    checks = DeepCheck(db, in_chunk)
    is_marked = await lease.workspace.rollup_heads.are_complete()
    while not _is_over(lease.run.position) and await lease.can_continue():
        if lease.run.position["passed"]:
            is_stored = await _verify_day(lease, rollups, is_marked=is_marked)
        else:
            is_stored = await _verify_passes(lease, order, checks)
        if not is_stored:
            return False
    lease.result |= Verified(**lease.run.position["sum"]).to_result()
    return _is_over(lease.run.position)


def _is_over(position: Any) -> bool:
    return bool(position["passed"] and (position["days"] is None or position["days"][0] >= position["days"][1]))


async def _days_of(order: VerificationOrder, rollups: RollupCheck) -> list[int] | None:
    """Return the first instant of the first day to compare, and that after the last one; None if there are no days."""
    span = None if order.rollups is None else await rollups.span()
    if order.rollups is None or span is None:
        return None
    start, end = order.rollups
    first_ms = Level.DAY.start_ms(span[0] if start is None else max(start, span[0]))
    last_ms = span[1] if end is None else min(end - 1, span[1])
    return [first_ms, Level.DAY.start_ms(last_ms) + DAY_MS] if first_ms <= last_ms else None


async def _verify_passes(lease: JobLease, order: VerificationOrder, checks: DeepCheck) -> bool:
    """Compare the next passes, and return whether the sums are stored. A repeat begins with the same passes."""
    position = lease.run.position
    ids, after, is_over = await _next_ids(lease, order, position["after"])
    compared: list[Comparison] = []
    for start in range(0, len(ids), PASSES_AT_ONCE):
        compared += await checks.compare(ids[start : start + PASSES_AT_ONCE])
    found = _sum(compared)
    await _report(lease, [line for each in compared for line in _lines_of_pass(each)])
    left_out = found.moving + found.gone
    tally = Tally(len(ids) - found.differing - left_out, failed=found.differing, left_out=left_out)
    sums = Verified(**position["sum"]).plus(found).to_dict()
    next_position = {**position, "after": after, "passed": is_over, "sum": sums}
    return await lease.commit(next_position, lease.run.tally.plus(tally))


async def _verify_day(lease: JobLease, rollups: RollupCheck, *, is_marked: bool) -> bool:
    """Compare the next day, and its month if it is the last one of it. Return whether the sums are stored.

    Months without events and rollups are left out, and their days count as done.
    """
    position = lease.run.position
    day_ms, end_ms = position["days"]
    compared = [await rollups.compare_day(day_ms, is_marked=is_marked)]
    month_ms, next_ms = Level.MONTH.start_ms(day_ms), day_ms + DAY_MS
    if next_ms >= end_ms or Level.MONTH.start_ms(next_ms) != month_ms:
        compared.append(await rollups.compare_month(month_ms))
        compared.append(await _compare_active(lease, month_ms))
        next_ms = await rollups.next_month(next_ms, end_ms)
    await _report(lease, [line for each in compared for period in each.differences for line in _lines(each, period)])
    found = Verified(**position["sum"])
    for each in compared:
        found = found.plus(
            Verified(
                rollups=each.compared,
                rollup_events=each.events,
                waiting=each.waiting,
                moving=each.moving,
                differing=len(each.differences),
                differences=sum(map(len, each.differences.values())),
            )
        )
    differs = any(each.differences for each in compared)
    tally = Tally((next_ms - day_ms) // DAY_MS - int(differs), failed=int(differs))
    next_position = {**position, "days": [next_ms, end_ms], "sum": found.to_dict()}
    return await lease.commit(next_position, lease.run.tally.plus(tally))


async def _compare_active(lease: JobLease, month_ms: int) -> ComparedRollups:
    """Compare the numbers of active passes of a month and its year. They count only if they differ."""
    resources, month = lease.worker.resources, month_of(from_ms(month_ms))
    check = ActiveCountCheck(resources.db, lease.run.workspace_id, resources.in_chunk)
    found = await check.compare({month, year_of(month)})
    return ComparedRollups(differences={Period(Level.MONTH, month_ms): found} if found else {})


async def _report(lease: JobLease, lines: Sequence[list[str]]) -> None:
    if lines:
        first = lease.run.tally.done
        await lease.workspace.jobs.put_report(lease.run.job_id, first, lines, await SystemClock().now())


async def _next_ids(lease: JobLease, order: VerificationOrder, after: object) -> tuple[Sequence[str], object, bool]:
    """Return the ids of the next passes, the position behind them, and whether they are the last ones."""
    if order.pass_ids is not None:
        start = after if isinstance(after, int) else 0
        stop = start + VERIFICATION_BATCH_SIZE
        return order.pass_ids[start:stop], stop, stop >= len(order.pass_ids)
    # The newest passes come first, so that passes created meanwhile are left out.
    key = tuple(after) if isinstance(after, list) else None
    page = await lease.workspace.passes.page(PageRequest(VERIFICATION_BATCH_SIZE, key))
    last = page.items[-1] if page.items else None
    behind = after if last is None else [to_ms(last.created_at), last.id]
    return [card.id for card in page.items], behind, not page.has_more


def _sum(compared: Sequence[Comparison]) -> Verified:
    found = Verified()
    for each in compared:
        if each.is_moving:
            found = found.plus(Verified(moving=1))
        elif each.card is None:
            found = found.plus(Verified(gone=1))
        else:
            number = len(_differences(each))
            one = Verified(
                1, each.events, partial=int(not each.is_whole), differing=int(number > 0), differences=number
            )
            found = found.plus(one)
    return found


def _differences(compared: Comparison) -> list[Difference]:
    parked = Difference("events that are parked, although the pass is not", str(compared.parked_events), "0")
    return [*compared.differences, *([parked] if compared.parked_events else [])]


def _lines_of_pass(compared: Comparison) -> Iterator[list[str]]:
    if compared.card is not None:
        for each in _differences(compared)[:DIFFERENCES_LISTED]:
            yield ["PASS", compared.card.id, each.what, each.live, each.rebuilt]


def _lines(compared: ComparedRollups, period: Period) -> Iterator[list[str]]:
    level, start_ms = period
    for each in compared.differences[period][:DIFFERENCES_LISTED]:
        yield [_LEVEL_NAMES[level], format_instant(from_ms(start_ms)), each.what, each.live, each.rebuilt]
