"""Mutations that start an export: exportEvents and exportActivities. A job then writes the file."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.commands.jobs import exports
from app.domain.errors import Code, InvalidInput, Refused
from app.domain.files.exports import ExportFormat
from app.domain.values.cursors import parse_feed_cursor
from app.graphql.context import Info
from app.graphql.types.filters import (
    ActivityFilter,
    EventFilter,
    include_merged_passes,
    parse_activity_filter,
    parse_event_filter,
)
from app.graphql.types.payloads import UserError, user_errors

from .jobs import Job, job_of

UNKNOWN_IN_FILTER = "The filter names a pass or a segment that this workspace does not have."


@strawberry.input
class ExportEventsInput:
    """Events and format of an export."""

    filter: EventFilter | None = strawberry.field(
        default=None,
        description="Events to export. Default: all events. Events that Punchcard records for its own use are left "
        "out, unless the filter names their type.",
    )
    format: ExportFormat = strawberry.field(
        default=ExportFormat.JSONL, description="Format of the file. Default: JSONL."
    )


@strawberry.input
class ExportActivitiesInput:
    """Activities and format of an export."""

    filter: ActivityFilter | None = strawberry.field(
        default=None,
        description="Activities to export. Default: all activities except silent ones; imported history is included.",
    )
    format: ExportFormat = strawberry.field(
        default=ExportFormat.JSONL, description="Format of the file. Default: JSONL."
    )
    after: str | None = strawberry.field(
        default=None,
        description="Cursor of the feed after which the export starts. Default: the start of the feed. The member "
        "`cursor` of the job's `result` is where the next export, query or subscription continues.",
    )


@strawberry.type
class ExportPayload:
    """Result of `exportEvents` and `exportActivities`."""

    job: Job | None = strawberry.field(
        default=None,
        description="Job that writes the file; null if the call failed. Once it has SUCCEEDED, its `downloadUrl` gives "
        "the file.",
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


async def export_events(
    info: Info, input: Annotated[ExportEventsInput, strawberry.argument(description="Events and format.")]
) -> ExportPayload:
    """Start a job that writes events to a file for download. Needs the scopes `write` and `read`.

    The file has the events that match the filter and were recorded before the call, ordered by `occurredAt`. A file in
    the format JSONL can be imported again. A repeated call starts another job, which writes another file.
    """
    try:
        query = await parse_event_filter(info, input.filter)
        if query is None:
            raise InvalidInput(Code.UNKNOWN, UNKNOWN_IN_FILTER, "filter")
        job = await exports.export_events(info.context.commands, query, input.format)
    except Refused as refused:
        return ExportPayload(user_errors=user_errors(refused.problems))
    return ExportPayload(job=job_of(job))


async def export_activities(
    info: Info, input: Annotated[ExportActivitiesInput, strawberry.argument(description="Activities and format.")]
) -> ExportPayload:
    """Start a job that writes activities to a file for download. Needs the scopes `write` and `read`.

    The file has the activities that match the filter and were published before the call, in the order of the feed, each
    with its cursor. A repeated call starts another job, which writes another file.
    """
    try:
        query = await include_merged_passes(info.context, parse_activity_filter(input.filter, historical=True))
        if query is None:
            raise InvalidInput(Code.UNKNOWN, UNKNOWN_IN_FILTER, "filter")
        after = 0
        if input.after is not None:
            after = await info.context.workspace.position_after(parse_feed_cursor(input.after, "after"), "after")
        job = await exports.export_activities(info.context.commands, query, input.format, after)
    except Refused as refused:
        return ExportPayload(user_errors=user_errors(refused.problems))
    return ExportPayload(job=job_of(job))
