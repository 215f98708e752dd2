"""exportEvents and exportActivities: jobs that write what a filter finds to a file, and the address it is fetched by."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import urlencode

from app.clock import SystemClock
from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.domain.activities import ActivityQuery
from app.domain.actors import READ
from app.domain.events.events import EventQuery
from app.domain.files.exports import URL_TTL_SECONDS, ExportFormat, signature
from app.domain.jobs import Job, JobKind, JobStatus, Tally
from app.domain.values.instants import to_ms
from app.store.codecs.jobs import ExportOrder
from app.store.mongo.ids import ordered_id
from app.store.mongo.paging import MILLISECOND

MUTATIONS = {JobKind.EXPORT_EVENTS: "exportEvents", JobKind.EXPORT_ACTIVITIES: "exportActivities"}


async def export_events(ctx: Context, query: EventQuery, format: ExportFormat) -> Job:  # noqa: A002  # the API's word
    """The job that will write the events that match, as recorded until now, the oldest first.

    Repeating it makes another file. Raises Denied without the scope `read`, Unavailable; safe to repeat.
    """
    ctx.actor.require(READ)
    now = await ctx.now()
    # Nothing recorded by now occurred later than this: there is no reason to look further.
    ahead = timedelta(seconds=ctx.resources.settings.future_tolerance_seconds)
    bound = replace(
        query,
        recorded_before=_earlier(query.recorded_before, now + MILLISECOND),
        occurred_before=_earlier(query.occurred_before, now + ahead + MILLISECOND),
    )
    return await _ordered(ctx, JobKind.EXPORT_EVENTS, ExportOrder(bound, format), None)


async def export_activities(ctx: Context, query: ActivityQuery, format: ExportFormat, after: int = 0) -> Job:  # noqa: A002
    """The job that will write the activities behind position `after` that match, as published until now, in their order.

    Repeating it makes another file. Raises Denied without the scope `read`, Unavailable; safe to repeat.
    """
    ctx.actor.require(READ)
    upto = max(after, await ctx.workspace.activities.last_pos())
    return await _ordered(ctx, JobKind.EXPORT_ACTIVITIES, ExportOrder(query, format, upto), after)


async def download_path(ctx: Context, job: Job) -> str | None:
    """The path and query under which anybody may fetch the job's file for an hour; None where there is no file now."""
    now = await SystemClock().now()
    if job.file is None or now >= job.file.expires_at:
        return None
    expires = to_ms(min(now + timedelta(seconds=URL_TTL_SECONDS), job.file.expires_at)) // 1000
    signed = signature(await ctx.secret(), job.id, expires)
    asked = {"workspace": ctx.workspace.id, "expires": expires, "signature": signed}
    return f"/exports/{job.id}?{urlencode(asked)}"


async def _ordered(ctx: Context, kind: JobKind, order: ExportOrder, at: object) -> Job:
    job = Job(ordered_id("job"), kind, JobStatus.QUEUED, Tally(), 0, await SystemClock().now())
    await record_audit_entry(ctx, MUTATIONS[kind], "Job", job.id)
    await ctx.workspace.jobs.insert(job, order, ctx.actor.key_id, {"at": at, "bytes": 0, "whole": False})
    ctx.resources.bus.wake("jobs", job.id)
    return job


def _earlier(given: datetime | None, bound: datetime) -> datetime:
    return bound if given is None else min(given, bound)
