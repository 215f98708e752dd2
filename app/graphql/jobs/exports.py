"""exportEvents and exportActivities at the edge: a filter becomes a job that writes a file."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.commands.jobs import exports
from app.domain.errors import Code, InvalidInput, Refused
from app.domain.files.exports import ExportFormat
from app.domain.values.cursors import activity_position
from app.graphql.context import Info
from app.graphql.types.filters import ActivityFilter, EventFilter, activity_query, event_query, of_whole_pass
from app.graphql.types.payloads import UserError, user_errors

from .jobs import Job, job_of

NO_PASS_ID = "The filter names a pass or a segment that this workspace does not have."


@strawberry.input
class ExportEventsInput:
    """Which events to write to a file, and how."""

    filter: EventFilter | None = strawberry.field(default=None, description="Which events; all, if omitted.")
    format: ExportFormat = strawberry.field(default=ExportFormat.JSONL, description="How the file is written.")


@strawberry.input
class ExportActivitiesInput:
    """Which activities to write to a file, and how."""

    filter: ActivityFilter | None = strawberry.field(
        default=None, description="Which activities; all that are not silent, imported history included, if omitted."
    )
    format: ExportFormat = strawberry.field(default=ExportFormat.JSONL, description="How the file is written.")
    after: str | None = strawberry.field(
        default=None,
        description="Only what lies behind this cursor of the feed. The job's `result.cursor` is where the next export, a "
        "subscription or a query goes on.",
    )


@strawberry.type
class ExportPayload:
    """The job that writes the file."""

    job: Job | None = strawberry.field(
        default=None, description="The job; `downloadUrl` is where the file is fetched once it has SUCCEEDED."
    )
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


async def export_events(
    info: Info, input: Annotated[ExportEventsInput, strawberry.argument(description="Which events, and how.")]
) -> ExportPayload:
    """Writes the events that match a filter, as recorded until now, to a file, in a job; the oldest first.

    As JSONL they can be imported again. Needs the scope `read` as well. A repeat makes another file.
    """
    try:
        query = await event_query(info, input.filter)
        if query is None:
            raise InvalidInput(Code.UNKNOWN, NO_PASS_ID, "filter")
        job = await exports.export_events(info.context.commands, query, input.format)
    except Refused as refused:
        return ExportPayload(user_errors=user_errors(refused.problems))
    return ExportPayload(job=job_of(job))


async def export_activities(
    info: Info, input: Annotated[ExportActivitiesInput, strawberry.argument(description="Which activities, and how.")]
) -> ExportPayload:
    """Writes the activities that match a filter, as published until now, to a file, in a job; in the order of the feed,
    each with its cursor. Needs the scope `read` as well. A repeat makes another file.
    """
    try:
        query = await of_whole_pass(info.context, activity_query(input.filter, historical=True))
        if query is None:
            raise InvalidInput(Code.UNKNOWN, NO_PASS_ID, "filter")
        after = 0 if input.after is None else activity_position(input.after, "after")
        job = await exports.export_activities(info.context.commands, query, input.format, after)
    except Refused as refused:
        return ExportPayload(user_errors=user_errors(refused.problems))
    return ExportPayload(job=job_of(job))
