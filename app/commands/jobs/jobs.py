"""cancelJob, for every kind of job."""

from __future__ import annotations

from app.commands.context import Context
from app.domain.errors import NotFound
from app.domain.jobs import Job


async def cancel_job(ctx: Context, job_id: str) -> Job:
    """Request that a job stop after its current rows, and return the job. Safe to repeat. Raises NotFound.

    A finished job stays unchanged.
    """
    await ctx.workspace.jobs.cancel(job_id)
    job = await ctx.workspace.jobs.get(job_id)
    if job is None:
        raise NotFound("job", "id")
    ctx.resources.bus.wake("jobs", job_id)
    return job
