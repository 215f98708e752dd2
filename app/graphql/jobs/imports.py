"""importEvents at the edge: a file sent by the multipart request specification becomes a job."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Annotated

import strawberry

from app.commands.context import Context
from app.commands.jobs import imports
from app.commands.jobs.remote_files import remote_file
from app.domain.errors import Code, InvalidInput, Refused
from app.domain.files import columns as domain
from app.domain.files.csv_values import DateOrder
from app.domain.files.imports import ImportFormat
from app.graphql.context import Info
from app.graphql.types.payloads import UserError, user_errors
from app.graphql.types.scalars import Upload

from .jobs import Job, job_of


@strawberry.input
class ColumnMapping:
    """Where a field of the events comes from: a column of the file, or one value for all rows."""

    field: str = strawberry.field(description=f"One of {', '.join(domain.FIELDS)}, or `metadata.` and a name.")
    column: str | None = strawberry.field(
        default=None,
        description="The name of the column, as in the first row; of JSONL the path of a value, such as `customer.id`.",
    )
    value: str | None = strawberry.field(default=None, description="The value of every row, in place of a column.")


@strawberry.input
class ImportEventsInput:
    """A file of events, and what its columns are."""

    file: Upload | None = strawberry.field(
        default=None,
        description="The file. CSV in UTF-8, else Windows-1252, whose first row names the columns; or JSONL in UTF-8, "
        "an object a line.",
    )
    url: str | None = strawberry.field(
        default=None,
        description="Where the file is, in place of it: http or https, at a public address, fetched while the mutation "
        "runs. Exactly one of `file` and `url` is given.",
    )
    format: ImportFormat = strawberry.field(default=ImportFormat.CSV, description="How the file is written.")
    source: str | None = strawberry.field(
        default=None, description='Where the events come from, part of their identity; "import:<file name>" if omitted.'
    )
    columns: list[ColumnMapping] | None = strawberry.field(
        default=None,
        description="What the columns are; guessed from their names and first rows if omitted. Columns not named go to "
        "the metadata. Without an `externalId`, the number of the row (from 1) is it. Of JSONL, values that have the name "
        "of a field of `RecordEventInput` are that field without being named here; what `exportEvents` wrote needs nothing.",
    )
    timezone: str | None = strawberry.field(
        default=None, description="IANA, for dates and times without an offset; the workspace's, if omitted."
    )
    date_order: DateOrder | None = strawberry.field(
        default=None,
        description="How dates such as 03/04/2026 are meant; if omitted, as the first rows show, else such rows fail.",
    )
    create_missing_passes: bool = strawberry.field(
        default=True, description="Create the passes that the rows name and that are not there."
    )
    dry_run: bool = strawberry.field(
        default=False,
        description="Record nothing, and find out what would become of each row; rows of the file that repeat one another "
        "more than 1,000 rows apart are not noticed, and corrections of events of the same file fail.",
    )


@strawberry.type
class ImportEventsPayload:
    """The job that records the rows."""

    job: Job | None = strawberry.field(default=None, description="The job; absent if the file or a column was refused.")
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


async def import_events(
    info: Info, input: Annotated[ImportEventsInput, strawberry.argument(description="The file.")]
) -> ImportEventsPayload:
    """Records the rows of a file as past events, in a job.

    A row is identified by its position in the file and the source: importing the same file again records nothing new.
    """
    mappings = input.columns
    try:
        async with _file(info.context.commands, input.file, input.url) as file:
            job = await imports.import_events(
                info.context.commands,
                file,
                kind=input.format,
                source=input.source,
                columns=None
                if mappings is None
                else [domain.ColumnMapping(each.field, each.column, each.value) for each in mappings],
                timezone=input.timezone,
                date_order=input.date_order,
                create_missing_passes=input.create_missing_passes,
                dry_run=input.dry_run,
            )
    except Refused as refused:
        return ImportEventsPayload(user_errors=user_errors(refused.problems))
    return ImportEventsPayload(job=job_of(job))


def _file(ctx: Context, file: Upload | None, url: str | None) -> AbstractAsyncContextManager[imports.Upload]:
    if url is None and file is not None:
        return nullcontext(file)
    if url is not None and file is None:
        return remote_file(ctx, url)
    raise InvalidInput(Code.REQUIRED, "Give exactly one of `file` and `url`.", "file")
