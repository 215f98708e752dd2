"""importSegmentMembers: put the passes of an uploaded file on a list of a segment, in batches of 1,000 rows.

The worker records the events of a batch, stores the failed rows in the report, and commits the position in the file. The
ids of the events follow from job and pass, so a repeat of the batch records nothing twice.
"""

from __future__ import annotations

import contextlib

from app.clock import SystemClock
from app.commands.jobs.imports import CHANNEL
from app.commands.passes.list_imports import list_rows
from app.domain.files.members import MemberImportOrder

from .imports import read_batches
from .lease import JobLease


async def run_member_import(lease: JobLease) -> bool:
    """Record rows for one slice of time and return whether the file is at its end."""
    order, run = lease.run.order, lease.run
    assert isinstance(order, MemberImportOrder)
    if run.is_cancelling:
        # Do not read the file: a worker may have removed it and crashed before it finished the cancelled job.
        return False
    jobs = lease.workspace.jobs
    batches = read_batches(jobs.input(run.job_id, run.position), order.plan.open_splitter, order.size, run.position)
    is_complete = run.position >= order.size
    async with contextlib.aclosing(batches):
        async for rows in batches:
            if not await lease.can_continue(records=True):
                break
            first = lease.run.tally.done + 1
            ctx = lease.context(CHANNEL, "list", batch=f"{run.job_id}:{first}")
            listed = await list_rows(ctx, run.job_id, order, first, rows)
            if listed.report:
                await jobs.put_report(run.job_id, first, listed.report, await SystemClock().now(), listed.names)
            if not await lease.commit(rows[-1].end, lease.run.tally.plus(listed.tally)):
                break
        else:
            # The file may end in blank rows, which are in no batch: commit its end.
            is_complete = lease.run.position >= order.size or await lease.commit(order.size, lease.run.tally)
    tally = lease.run.tally
    lease.result |= {"added": tally.created, "duplicate": tally.duplicate, "failed": tally.failed}
    return not lease.is_lost and (is_complete or bool(lease.run.position >= order.size))
