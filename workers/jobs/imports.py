"""Imports: the rows of an uploaded file become events, 1,000 at a time, whatever dies in between.

A batch is recorded, its failures are put in the report, then the commit moves the job on: position in the file and counts
together. Who dies before that leaves a batch that the next run does again: its events are there already and carry the
batch's name, so they are counted as created, once.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

from app.clock import SystemClock
from app.commands.jobs.imports import CHANNEL, record_rows
from app.domain.files.import_plan import ImportOrder
from app.domain.files.row_splitter import Row

from .lease import JobLease

IMPORT_BATCH_SIZE = 1_000


async def run_import(turn: JobLease) -> bool:
    """Records rows while the turn goes on; whether the file is at its end."""
    if turn.run.is_cancelling:
        # Who saw it before may have removed the file, and died.
        return False
    order = _order(turn)
    jobs = turn.workspace.jobs
    batches = _batches(jobs.input(turn.run.job_id, turn.run.position), order, turn.run.position)
    async with contextlib.aclosing(batches):
        async for rows in batches:
            if not await turn.can_continue(records=True) or not await import_batch(turn, rows):
                break
        else:
            # Blank rows at the end: nothing to record, and nothing to read again.
            return turn.run.position >= order.size or await turn.commit(order.size, turn.run.tally)
    return not turn.lost and bool(turn.run.position >= order.size)


async def import_batch(turn: JobLease, rows: list[Row]) -> bool:
    """Records these rows, which begin at the job's position; False where another has taken the job over."""
    order, run = _order(turn), turn.run
    first = run.tally.done + 1
    ctx = turn.context(CHANNEL, "import", batch=f"{run.job_id}:{first}")
    carried = await record_rows(
        ctx, order.plan, first, rows, create_missing_passes=order.create_missing_passes, dry_run=run.dry_run
    )
    if carried.report:
        await turn.workspace.jobs.put_report(run.job_id, first, carried.report, await SystemClock().now())
    return await turn.commit(rows[-1].end, run.tally.plus(carried.tally))


def _order(turn: JobLease) -> ImportOrder:
    order = turn.run.order
    assert isinstance(order, ImportOrder)
    return order


async def _batches(parts: AsyncIterator[bytes], order: ImportOrder, position: int) -> AsyncGenerator[list[Row], None]:
    """The rows from a position on, 1,000 at a time, so that every run cuts the file at the same places."""
    splitter = order.plan.splitter(position)
    rows: list[Row] = []
    expected = position
    async for part in parts:
        expected += len(part)
        splitter.feed(part)
        while found := splitter.take(IMPORT_BATCH_SIZE - len(rows)):
            rows += found
            if len(rows) == IMPORT_BATCH_SIZE:
                yield rows
                rows = []
    if expected < order.size:
        raise LookupError(f"the file ends at {expected} of {order.size} bytes")
    splitter.end()
    while found := splitter.take(IMPORT_BATCH_SIZE - len(rows)):
        rows += found
        if len(rows) == IMPORT_BATCH_SIZE:
            yield rows
            rows = []
    if rows:
        yield rows
