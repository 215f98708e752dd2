"""verifyProjection: compute passes anew from their events, and compare them with what is stored. Nothing else is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from app.clock import SystemClock
from app.domain.fold.recomputation import Difference
from app.domain.insights.verification import VerificationOrder, Verified
from app.domain.jobs import Tally
from app.domain.values.instants import to_ms
from app.store.mongo.paging import PageRequest
from app.store.operations.recomputation import PASSES_AT_ONCE, Comparison, DeepCheck

from .lease import JobLease

VERIFICATION_BATCH_SIZE = 5 * PASSES_AT_ONCE
"""Passes that one batch compares."""
DIFFERENCES_LISTED = 100
"""Differences of one pass that the report lists."""


async def run_verification(lease: JobLease) -> bool:
    """Compare for one slice of time and return whether all passes were compared."""
    order = lease.run.order
    assert isinstance(order, VerificationOrder)
    if lease.run.position is None:
        total = await lease.workspace.passes.count() if order.pass_ids is None else len(order.pass_ids)
        if not await lease.commit({"after": None, "over": total == 0, "sum": Verified().to_dict()}, Tally(), total):
            return False
    checks = DeepCheck(lease.worker.resources.db, lease.worker.resources.in_chunk)
    while not lease.run.position["over"] and await lease.can_continue():
        if not await _verify_batch(lease, order, checks):
            return False
    lease.result |= lease.run.position["sum"]
    return bool(lease.run.position["over"])


async def _verify_batch(lease: JobLease, order: VerificationOrder, checks: DeepCheck) -> bool:
    """Compare the next passes, and return whether the sums are stored. A repeat begins with the same passes."""
    position = lease.run.position
    ids, after, is_over = await _next_ids(lease, order, position["after"])
    compared: list[Comparison] = []
    for start in range(0, len(ids), PASSES_AT_ONCE):
        compared += await checks.compare(ids[start : start + PASSES_AT_ONCE])
    found = _sum(compared)
    if lines := [line for each in compared for line in _lines(each)]:
        first = lease.run.tally.done
        await lease.workspace.jobs.put_report(lease.run.job_id, first, lines, await SystemClock().now())
    tally = Tally(len(ids) - found.differing - found.moving - found.gone, failed=found.differing)
    tally = tally.plus(Tally(left_out=found.moving + found.gone))
    sums = Verified(**position["sum"]).plus(found).to_dict()
    return await lease.commit({"after": after, "over": is_over, "sum": sums}, lease.run.tally.plus(tally))


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


def _lines(compared: Comparison) -> Iterator[list[str]]:
    if compared.card is not None:
        for each in _differences(compared)[:DIFFERENCES_LISTED]:
            yield ["PASS", compared.card.id, each.what, each.live, each.rebuilt]
