"""The type Job, the queries that find and list jobs, the subscription jobProgress and the mutation cancelJob."""

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
"""Interval at which jobProgress reads its job. The worker that does the job does not announce progress."""


RESULT = """Result of the job, an object; null until it has ended. Its members depend on `kind`:

- `IMPORT`: the numbers of rows `created`, `duplicate`, `failed` and `leftOut`, which are of events that rules made, and
  the `source` of the events.
- `EXPORT_EVENTS`: the numbers of `rows` and `bytes` of the file.
- `EXPORT_ACTIVITIES`: the same, and the `cursor` at which the next export, query or subscription continues.
- `DELETE_EVENTS`: the number of events `deleted`, and of those that rules made and that were `leftOut`.
- `REPLAY_WEBHOOKS`: the number of `messages` selected.
- `IMPORT_SEGMENT_MEMBERS`: the numbers of passes `added`, of `duplicate` rows whose pass a row before named, and of rows
  that `failed`.
- `INCLUDE_MEMBERS`: the number of members `asked`.
- `MEASURE_CONVERSION`: the figures of `RuleStatistics.conversion`.
- `SIMULATE_RULE`: the figures of `simulateRule`.
- `BROADCAST`: the number of `messages` queued.
- `PREVIEW_SEGMENT`: the figures of `previewSegment`.
- `VERIFY_PROJECTION`: the figures of `verifyProjection`.
- `PREPARE_DIMENSIONS`: the number of `hours` whose rollups are computed again.

Every result also has the list `warnings`."""
"""The description of the field `result`, as Markdown."""


@strawberry.type
class JobProgress:
    """Number of items that a job has processed: rows of a file, events, activities, messages or passes."""

    done: int = strawberry.field(description="Number of items processed so far, including failed ones.")
    total: int = strawberry.field(
        description="Expected number of items; 0 while it is unknown. For an import it is the number of lines, and for "
        "an export of activities the number of positions to read. Once the job has SUCCEEDED, it equals `done`."
    )
    failed: int = strawberry.field(
        description="Number of items that could not be processed. For an import, the file at `reportUrl` gives the "
        "reasons. For `VERIFY_PROJECTION`, it is the number of passes that differ."
    )


@strawberry.type
class Job(Node):
    """Long work that a worker does in the background, in batches.

    If the worker crashes, another worker continues it.
    """

    kind: JobKind = strawberry.field(description="Kind of the work.")
    status: JobStatus = strawberry.field(description="State of the job. SUCCEEDED, FAILED and CANCELLED are final.")
    progress: JobProgress = strawberry.field(description="Number of items processed so far.")
    dry_run: bool = strawberry.field(
        description="Whether the job only checks what would happen to each row, without recording anything."
    )
    cancelling: bool = strawberry.field(
        description="Whether a client has cancelled the job and the worker has not stopped yet."
    )
    result: JSON | None = strawberry.field(description=RESULT)
    domain_job: strawberry.Private[domain.Job]
    report_url: str | None = strawberry.field(
        description="URL of a CSV file that has a line for each problem of a failed row, or for each difference that "
        "`verifyProjection` found; null while nothing has failed. "
        "It is relative to the address of the API and needs an API key with the scope `read`. The file is kept for 30 "
        "days."
    )
    created_at: datetime = strawberry.field(description="Time at which a client started the job, in system time.")
    started_at: datetime | None = strawberry.field(
        description="Time at which a worker first took the job, in system time; null while it is QUEUED."
    )
    finished_at: datetime | None = strawberry.field(
        description="Time at which the job ended, in system time; null until then."
    )
    error: str | None = strawberry.field(description="Reason why the job FAILED, for people; null for other states.")

    @strawberry.field
    async def download_url(self, info: Info) -> str | None:
        """URL of the file that an export has written, relative to the address of the API.

        The URL works for an hour, without an API key, for everyone who has it. Each read of this field returns a new
        URL. Null until the job has SUCCEEDED, and after the file was deleted. Punchcard deletes the file a day after
        the end of the job, or earlier if a pass is erased. Null for a key without the scope `read`.
        """
        if not info.context.can_read:
            return None
        return await download_path(info.context.commands, self.domain_job)


listing: Pagination[domain.Job] = Pagination("job", (int, str), lambda job: (to_ms(job.created_at), job.id))


def job_of(job: domain.Job) -> Job:
    """Return the GraphQL object of a job."""
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
    """Return the job with a database id, or None."""
    job = await context.load.jobs.load(job_id)
    return None if job is None else job_of(job)


async def find_job(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="Id of the job.")]
) -> Job | None:
    """Find a job by its id; null if it does not exist. Needs the scope `read`."""
    job_id = database_id(id, "Job")
    return None if job_id is None else await fetch_job(info.context, job_id)


async def list_jobs(
    info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[Job]:
    """List the jobs, newest first. Needs the scope `read`."""
    span = listing.span(first, after, last, before)
    store = info.context.workspace.jobs
    return listing.connection(await store.page(span), span, job_of, store.count)


async def follow_job(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="Id of the job.")]
) -> AsyncGenerator[Job, None]:
    """Follow a job: the stream sends the job now and after each change, at most twice a second.

    The stream ends when the job has ended. It fails with `BAD_USER_INPUT` if the job does not exist. Needs the scope
    `subscribe`.
    """
    job_id = database_id(id, "Job")
    job = None if job_id is None else await info.context.workspace.jobs.get(job_id)
    if job is None:
        raise NotFound("job", "id")
    return _stream_changes(info.context, job)


async def _stream_changes(context: RequestContext, job: domain.Job) -> AsyncGenerator[Job, None]:
    last_sent: domain.Job | None = None
    while True:
        if job != last_sent:
            yield job_of(job)
            last_sent = job
        if job.finished_at is not None:
            return
        await asyncio.sleep(POLL_INTERVAL_SECONDS)
        job = await context.workspace.jobs.get(job.id) or job


@strawberry.input
class CancelJobInput:
    """Job to cancel."""

    id: strawberry.ID = strawberry.field(description="Id of the job.")


@strawberry.type
class CancelJobPayload:
    """Result of `cancelJob`."""

    job: Job | None = strawberry.field(
        default=None,
        description="The job; null if the call failed. Its status becomes CANCELLED when the worker stops. A job that "
        "had ended stays unchanged.",
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


async def cancel_job(
    info: Info, input: Annotated[CancelJobInput, strawberry.argument(description="Job to cancel.")]
) -> CancelJobPayload:
    """Cancel a job. Needs the scope `write`. Safe to repeat.

    The worker finishes its current batch and stops. The work that was done stays.
    """
    try:
        job = await jobs.cancel_job(info.context.commands, parse_text(given_id(input.id, "Job"), "id"))
    except Refused as refused:
        return CancelJobPayload(user_errors=user_errors(refused.problems))
    return CancelJobPayload(job=job_of(job))
