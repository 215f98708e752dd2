"""Jobs: the type, the query and the list, and cancelJob."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Annotated

import strawberry

from app.commands.jobs import jobs
from app.commands.jobs.exports import download_path
from app.domain import jobs as domain
from app.domain.errors import NotFound, Refused
from app.domain.jobs import JobKind, JobStatus
from app.domain.values.instants import to_ms
from app.domain.values.text import parse_text
from app.graphql.context import Info, RequestContext
from app.graphql.types.ids import database_id, given_id, to_global_id
from app.graphql.types.node import Node, fetcher
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.graphql.types.payloads import UserError, user_errors
from app.graphql.types.scalars import JSON

POLL_INTERVAL_SECONDS = 0.5
"""How often a followed job is read: its progress is written every so many rows, by a process that knows no followers."""


@strawberry.type
class JobProgress:
    """How many rows of a job are done."""

    done: int = strawberry.field(description="Rows dealt with so far, failed ones included.")
    total: int = strawberry.field(
        description="Rows expected: lines of the file, events that match (0 while that is not known), positions of the feed "
        "to look through; once the job is finished, exactly what was done."
    )
    failed: int = strawberry.field(description="Rows that could not be recorded; the report says why.")


@strawberry.type
class Job(Node):
    """Long work that a worker carries on with until it is finished, whatever dies."""

    kind: JobKind = strawberry.field(description="What it does.")
    status: JobStatus = strawberry.field(description="How far it is.")
    progress: JobProgress = strawberry.field(description="How many rows are done.")
    dry_run: bool = strawberry.field(description="Whether it only finds out what would become of each row.")
    cancelling: bool = strawberry.field(description="Whether it was told to stop and has not stopped yet.")
    result: JSON | None = strawberry.field(
        description="Once it is finished, what came of it. An import: `created`, `duplicate` and `failed` rows and the "
        "`source`. An export: `rows` and `bytes`, and of activities the `cursor` from which to read on. "
        "A deletion: how many events it `deleted`. A replay: how many `messages` it put up to be sent. And `warnings`."
    )
    domain_job: strawberry.Private[domain.Job]
    report_url: str | None = strawberry.field(
        description="Where a CSV with a line for each failed row is fetched, relative to the address of the API and with "
        "the same Authorization; null while no row has failed. It is kept for 30 days."
    )
    created_at: datetime = strawberry.field(description="When it was asked for, by the machine's clock.")
    started_at: datetime | None = strawberry.field(description="When a worker began it.")
    finished_at: datetime | None = strawberry.field(description="When it ended; null while it goes on.")
    error: str | None = strawberry.field(description="Why it is FAILED.")

    @strawberry.field
    async def download_url(self, info: Info) -> str | None:
        """Where the file of a finished export is fetched, relative to the address of the API: by anybody who has the
        address, without a key, for an hour. Reading it again answers another. Null while there is no file, and once
        it is gone, a day after the job has ended.
        """
        return await download_path(info.context.commands, self.domain_job)


listing: Pagination[domain.Job] = Pagination("job", (int, str), lambda job: (to_ms(job.created_at), job.id))


def job_of(job: domain.Job) -> Job:
    """The job as it is published."""
    tally = job.tally
    return Job(
        id=strawberry.ID(to_global_id("Job", job.id)),
        kind=job.kind,
        status=job.status,
        progress=JobProgress(done=tally.done, total=job.total, failed=tally.failed),
        dry_run=job.dry_run,
        cancelling=job.is_cancelling,
        result=None if job.finished_at is None else JSON(job.result),
        report_url=job.report_path,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        error=job.error,
        domain_job=job,
    )


@fetcher("Job")
async def fetch_job(context: RequestContext, job_id: str) -> Job | None:
    """The job of a database id, or None."""
    found = await context.load.jobs.load(job_id)
    return None if found is None else job_of(found)


async def find_job(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The id of the job.")]
) -> Job | None:
    """The job of an id."""
    named = database_id(id, "Job")
    return None if named is None else await fetch_job(info.context, named)


async def list_jobs(
    info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[Job]:
    """The jobs, the newest first."""
    span = listing.span(first, after, last, before)
    store = info.context.workspace.jobs
    return listing.connection(await store.page(span), span, job_of, store.count)


async def follow_job(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The id of the job.")]
) -> AsyncGenerator[Job, None]:
    """A job as it is now, and again whenever it has changed; the stream ends when the job has ended."""
    named = database_id(id, "Job")
    job = None if named is None else await info.context.workspace.jobs.get(named)
    if job is None:
        raise NotFound("job", "id")
    return _changes(info.context, job)


async def _changes(context: RequestContext, job: domain.Job) -> AsyncGenerator[Job, None]:
    told: domain.Job | None = None
    while True:
        if job != told:
            yield job_of(job)
            told = job
        if job.finished_at is not None:
            return
        await asyncio.sleep(POLL_INTERVAL_SECONDS)
        job = await context.workspace.jobs.get(job.id) or job


@strawberry.input
class CancelJobInput:
    """A job to stop."""

    id: strawberry.ID = strawberry.field(description="The job.")


@strawberry.type
class CancelJobPayload:
    """The job that was told to stop."""

    job: Job | None = strawberry.field(
        default=None, description="The job, CANCELLED a moment later; one that had ended stays as it was."
    )
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


async def cancel_job(
    info: Info, input: Annotated[CancelJobInput, strawberry.argument(description="The job.")]
) -> CancelJobPayload:
    """Tells a job to stop; what it has done stays. Safe to repeat."""
    try:
        job = await jobs.cancel_job(info.context.commands, parse_text(given_id(input.id, "Job"), "id"))
    except Refused as refused:
        return CancelJobPayload(user_errors=user_errors(refused.problems))
    return CancelJobPayload(job=job_of(job))
