"""The mutation importSegmentMembers: a file of passes for a list of a segment."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.commands.passes import list_imports as commands
from app.domain.errors import Refused
from app.domain.files.imports import ImportFormat
from app.graphql.context import Info
from app.graphql.jobs.imports import open_file, unlimited_time
from app.graphql.jobs.jobs import Job, job_of
from app.graphql.types.enums import SegmentList
from app.graphql.types.ids import given_id
from app.graphql.types.payloads import UserError, user_errors
from app.graphql.types.scalars import Upload


@strawberry.input
class ImportSegmentMembersInput:
    """File of passes, and the list that they are put on. Give exactly one of `file` and `url`."""

    segment_id: strawberry.ID = strawberry.field(description="Id of the segment, which must not be archived.")
    file: Upload | None = strawberry.field(
        default=None,
        description="The file, up to 1 GiB unless the operator sets another limit. Each row names a pass: by its external "
        "id in the column `passExternalId`, or by its id in the column `passId`. In JSONL, each line is an object with "
        "one of these members. Other columns are ignored.",
    )
    url: str | None = strawberry.field(
        default=None, description="http or https URL of the file, as for `importEvents`."
    )
    format: ImportFormat = strawberry.field(default=ImportFormat.CSV, description="Format of the file. Default: CSV.")
    list_: SegmentList = strawberry.field(
        default=SegmentList.INCLUDE,
        name="list",
        description="List of the segment. A pass is on one of them at most. Default: `INCLUDE`.",
    )


@strawberry.type
class ImportSegmentMembersPayload:
    """Result of `importSegmentMembers`."""

    job: Job | None = strawberry.field(default=None, description="Job that reads the rows; null if the call failed.")
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


async def import_segment_members(
    info: Info,
    input: Annotated[ImportSegmentMembersInput, strawberry.argument(description="File, segment and list.")],
) -> ImportSegmentMembersPayload:
    """Start a job that puts the passes of a file on a list of a segment. Needs the scope `write`.

    The passes must exist. A row that names no pass fails alone; the file at the job's `reportUrl` says why. Safe to repeat:
    each call starts another job, but a pass that is on the list stays on it.
    """
    try:
        with unlimited_time(info, input.file):
            async with open_file(info.context.commands, input.file, input.url) as file:
                job = await commands.import_segment_members(
                    info.context.commands,
                    str(given_id(input.segment_id, "Segment")),
                    input.list_.value,
                    file,
                    kind=input.format,
                )
    except Refused as refused:
        return ImportSegmentMembersPayload(user_errors=user_errors(refused.problems))
    return ImportSegmentMembersPayload(job=job_of(job))
