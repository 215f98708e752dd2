"""exportEvents and exportActivities: create jobs that write matches to a file; the address of the file."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import urlencode

from app.clock import SystemClock
from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.domain.activity_queries import ActivityQuery
from app.domain.actors import READ
from app.domain.events.event_queries import EventQuery
from app.domain.files.exports import URL_TTL_SECONDS, ExportFormat, sign_download
from app.domain.jobs import Job, JobKind, JobStatus, Tally, check_kept_bytes, too_many_jobs
from app.domain.values.instants import to_ms
from app.store.codecs.jobs import ExportOrder
from app.store.mongo.ids import ordered_id
from app.store.mongo.paging import MILLISECOND

MUTATIONS = {JobKind.EXPORT_EVENTS: "exportEvents", JobKind.EXPORT_ACTIVITIES: "exportActivities"}


async def export_events(ctx: Context, query: EventQuery, format: ExportFormat) -> Job:  # noqa: A002  # the API's name
    """Create the job that writes the matching events recorded until now, the oldest first.

    A repeated call creates another file. Raises Denied without the scope `read`. Raises Unavailable; safe to repeat.
    """
    ctx.actor.require(READ)
    now = await ctx.now()
    # Events recorded by now occurred at most this far ahead, so the scan can end there.
    tolerance = timedelta(seconds=ctx.resources.settings.future_tolerance_seconds)
    bounded = replace(
        query,
        recorded_before=_min_instant(query.recorded_before, now + MILLISECOND),
        occurred_before=_min_instant(query.occurred_before, now + tolerance + MILLISECOND),
    )
    return await _create_job(ctx, JobKind.EXPORT_EVENTS, ExportOrder(bounded, format), None)


async def export_activities(
    ctx: Context,
    query: ActivityQuery,
    format: ExportFormat,  # noqa: A002  # the API's name
    after: int = 0,
) -> Job:
    """Create the job that writes the matching activities after a position, published until now, in order.

    A repeated call creates another file. Raises Denied without the scope `read`. Raises Unavailable; safe to repeat.
    """
    ctx.actor.require(READ)
    upto = max(after, await ctx.workspace.last_position())
    return await _create_job(ctx, JobKind.EXPORT_ACTIVITIES, ExportOrder(query, format, upto), after)


async def download_path(ctx: Context, job: Job) -> str | None:
    """Return the path and query at which any client can fetch the job's file for an hour; None without a file."""
    now = await SystemClock().now()
    if job.file is None or now >= job.file.expires_at:
        return None
    expires_seconds = to_ms(min(now + timedelta(seconds=URL_TTL_SECONDS), job.file.expires_at)) // 1000
    signature = sign_download(await ctx.secret(), job.id, expires_seconds)
    parameters = {"workspace": ctx.workspace.id, "expires": expires_seconds, "signature": signature}
    return f"/exports/{job.id}?{urlencode(parameters)}"


async def _create_job(ctx: Context, kind: JobKind, order: ExportOrder, at: object) -> Job:
    job = Job(
        id=ordered_id("job"),
        kind=kind,
        status=JobStatus.QUEUED,
        tally=Tally(),
        total=0,
        created_at=await SystemClock().now(),
    )
    check_kept_bytes(await ctx.workspace.jobs.kept_bytes(job.created_at))
    await record_audit_entry(ctx, MUTATIONS[kind], "Job", job.id)
    if not await ctx.workspace.jobs.insert(job, order, ctx.actor.key_id, {"at": at, "bytes": 0, "whole": False}):
        raise too_many_jobs()
    ctx.resources.bus.wake("jobs", job.id)
    return job


def _min_instant(instant: datetime | None, bound: datetime) -> datetime:
    return bound if instant is None else min(instant, bound)
