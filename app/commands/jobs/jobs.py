"""cancelJob, for every kind of job."""

from __future__ import annotations

from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.domain.errors import NotFound
from app.domain.jobs import Job


async def cancel_job(ctx: Context, job_id: str) -> Job:
    """Request that a job stop after its current rows, and return the job. Safe to repeat. Raises NotFound.

    A finished job stays unchanged.
    """
    job = await ctx.workspace.jobs.get(job_id)
    if job is None:
        raise NotFound("job", "id")
    if job.finished_at is not None:
        return job
    await record_audit_entry(ctx, "cancelJob", "Job", job_id, jobKind=job.kind.value)
    await ctx.workspace.jobs.cancel(job_id)
    job = await ctx.workspace.jobs.get(job_id) or job
    ctx.resources.bus.wake("jobs", job_id)
    return job
