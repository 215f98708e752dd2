"""Imports: record the rows of an uploaded file as events, in batches of 1,000.

The worker records a batch, stores the failed rows in the report, and commits the position in the file and the counts.
If the worker crashes before the commit, the next one repeats the batch. The events of the batch are stored already.
They carry the name of the batch, so the repeat counts them as created.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from app.clock import SystemClock
from app.commands.jobs.imports import CHANNEL, OTHER_FILE_WARNING, record_rows
from app.domain.files.import_plan import ImportOrder
from app.domain.files.row_splitter import Row, Splitter

from .lease import JobLease

IMPORT_BATCH_SIZE = 1_000


async def run_import(lease: JobLease) -> bool:
    """Record rows for one slice of time and return whether the file is at its end."""
    if lease.run.is_cancelling:
        # Do not read the file: a worker may have removed it and crashed before it finished the cancelled job.
        return False
    order = _order(lease)
    jobs = lease.workspace.jobs
    parts = jobs.input(lease.run.job_id, lease.run.position)
    batches = read_batches(parts, order.plan.open_splitter, order.size, lease.run.position)
    async with contextlib.aclosing(batches):
        async for rows in batches:
            if not await lease.can_continue(records=True) or not await import_batch(lease, rows):
                break
        else:
            # The file may end in blank rows, which are in no batch: commit its end.
            return lease.run.position >= order.size or await lease.commit(order.size, lease.run.tally)
    return not lease.is_lost and bool(lease.run.position >= order.size)


async def import_batch(lease: JobLease, rows: list[Row]) -> bool:
    """Record these rows, which begin at the job's position. Return False if another worker has claimed the job."""
    order, run = _order(lease), lease.run
    first = run.tally.done + 1
    ctx = lease.context(CHANNEL, "import", batch=f"{run.job_id}:{first}")
    recorded = await record_rows(
        ctx,
        order.plan,
        first,
        rows,
        create_missing_passes=order.create_missing_passes,
        dry_run=run.dry_run,
        is_other_file=OTHER_FILE_WARNING in run.warnings,
    )
    if recorded.report:
        await lease.workspace.jobs.put_report(
            run.job_id, first, recorded.report, await SystemClock().now(), recorded.names
        )
    warning = OTHER_FILE_WARNING if recorded.is_other_file else None
    return await lease.commit(rows[-1].end, run.tally.plus(recorded.tally), warning=warning)


def _order(lease: JobLease) -> ImportOrder:
    order = lease.run.order
    assert isinstance(order, ImportOrder)
    return order


async def read_batches(
    parts: AsyncIterator[bytes], open_splitter: Callable[[int], Splitter], size: int, position: int
) -> AsyncGenerator[list[Row], None]:
    """Yield the rows from a position on, 1,000 at a time, so that each repeat has the same batches."""
    splitter = open_splitter(position)
    rows: list[Row] = []
    read_bytes = position
    async for part in parts:
        read_bytes += len(part)
        splitter.feed(part)
        while found := splitter.take(IMPORT_BATCH_SIZE - len(rows)):
            rows += found
            if len(rows) == IMPORT_BATCH_SIZE:
                yield rows
                rows = []
    if read_bytes < size:
        raise LookupError(f"the stored file ends after {read_bytes} of {size} bytes")
    splitter.end()
    while found := splitter.take(IMPORT_BATCH_SIZE - len(rows)):
        rows += found
        if len(rows) == IMPORT_BATCH_SIZE:
            yield rows
            rows = []
    if rows:
        yield rows
