"""The mutation importEvents. It stores a file and starts a job that records the rows.

A client uploads the file by the GraphQL multipart request specification, or names its URL.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import Annotated

import strawberry

from app.commands import uploads
from app.commands.context import Context
from app.commands.jobs import imports
from app.commands.jobs.remote_files import remote_file
from app.domain.errors import Code, InvalidInput, Refused
from app.domain.files import columns as domain
from app.domain.files.columns import CellKind
from app.domain.files.csv_numbers import DecimalMark
from app.domain.files.csv_values import DateOrder
from app.domain.files.imports import ImportFormat
from app.graphql.context import Info
from app.graphql.types.payloads import UserError, user_errors
from app.graphql.types.scalars import Upload

from .jobs import Job, job_of


@strawberry.input
class ColumnMapping:
    """Source of one field of the events: a column of the file, or one value for all rows.

    Give exactly one of the two.
    """

    field: str = strawberry.field(
        description=f"Field to fill: one of {', '.join(domain.FIELDS)}, or `metadata.` and a name."
    )
    column: str | None = strawberry.field(
        default=None,
        description="Name of the column, as in the first row of a CSV file. For JSONL, the path of a value, such as "
        "`customer.id`.",
    )
    value: str | None = strawberry.field(
        default=None,
        description="Value of the field in every row. For `occurredAt`, `now` says that the events occur at their import.",
    )
    kind: CellKind | None = strawberry.field(
        default=None,
        description="What the cells of a `metadata.` column become. Default: numbers, if every cell of the first rows is a "
        "number that keeps its digits as a JSON number; otherwise texts as written. Sums read numbers in texts, too.",
    )


@strawberry.input
class ImportEventsInput:
    """File of past events, and how to read it. Give exactly one of `file` and `url`."""

    file: Upload | None = strawberry.field(
        default=None,
        description="The file, up to 1 GiB unless the operator sets another limit. CSV is UTF-8 or else Windows-1252, "
        "and its first row names the columns. JSONL is UTF-8 with one JSON object on each line.",
    )
    url: str | None = strawberry.field(
        default=None,
        description="http or https URL of the file, from which Punchcard downloads it while the mutation runs. Its "
        "host has public addresses. Other hosts need the operator's permission (`PUNCHCARD_EGRESS_ALLOW`).",
    )
    format: ImportFormat = strawberry.field(default=ImportFormat.CSV, description="Format of the file. Default: CSV.")
    source: str | None = strawberry.field(
        default=None,
        description="Source of the events, up to 100 characters. It is part of the identity of each event. Default: "
        '"import:" and the name of the file.',
    )
    columns: list[ColumnMapping] | None = strawberry.field(
        default=None,
        description="Sources of the fields. Default: Punchcard guesses them from the column names and the first rows. "
        "A column with an exact name such as `date` or `amount` is the source of that field, even if its cells cannot be "
        "read; such rows fail. The guess is refused if no column has the time of the events. "
        "Other columns go to the metadata. If no column gives the `externalId`, the number of the row, from 1, is the "
        "external id. In JSONL, a member with the name of a field of `RecordEventInput` fills that field by itself; "
        "files of `exportEvents` need no mapping.",
    )
    timezone: str | None = strawberry.field(
        default=None,
        description="IANA name of the time zone of dates and times without an offset, for example `Europe/Berlin`. "
        "Default: the time zone of the workspace.",
    )
    decimal_mark: DecimalMark | None = strawberry.field(
        default=None,
        description="Mark before the decimal places of numbers such as 1,234. Default: the mark that the amounts and "
        "points of the first rows show. Rows that contradict the mark fail, and so do ambiguous rows without one.",
    )
    date_order: DateOrder | None = strawberry.field(
        default=None,
        description="Order of day and month in dates such as 03/04/2026. Default: the order that the first rows show. "
        "If they show none, rows with such dates fail. Rows that contradict the order fail, too.",
    )
    create_missing_passes: bool = strawberry.field(
        default=True,
        description="Whether a row with an unknown `passExternalId` creates the pass. If false, the row fails. "
        "Default: true.",
    )
    dry_run: bool = strawberry.field(
        default=False,
        description="If true, the job only checks what would happen to each row, and records nothing. Such a check "
        "misses repeated rows that are more than 1,000 rows apart, and fails rows that correct an event of the same "
        "file.",
    )


@strawberry.type
class ImportEventsPayload:
    """Result of `importEvents`."""

    job: Job | None = strawberry.field(default=None, description="Job that records the rows; null if the call failed.")
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


async def import_events(
    info: Info, input: Annotated[ImportEventsInput, strawberry.argument(description="File and settings of the import.")]
) -> ImportEventsPayload:
    """Start a job that records the rows of a file as past events. Needs the scope `write`.

    Safe to repeat with the same `source`: each call starts another job, but rows that are recorded already count as
    duplicates. A row that cannot be recorded does not stop the others.
    """
    mappings = input.columns
    try:
        with unlimited_time(info, input.file):
            async with open_file(info.context.commands, input.file, input.url) as file:
                job = await imports.import_events(
                    info.context.commands,
                    file,
                    kind=input.format,
                    source=input.source,
                    columns=None
                    if mappings is None
                    else [
                        domain.ColumnMapping(each.field, each.column, each.value, kind=each.kind) for each in mappings
                    ],
                    timezone=input.timezone,
                    date_order=input.date_order,
                    decimal_mark=input.decimal_mark,
                    create_missing_passes=input.create_missing_passes,
                    dry_run=input.dry_run,
                )
    except Refused as refused:
        return ImportEventsPayload(user_errors=user_errors(refused.problems))
    return ImportEventsPayload(job=job_of(job))


def unlimited_time(info: Info, file: Upload | None) -> AbstractContextManager[None]:
    """Lift the time limit of an operation while it copies a file."""
    # The file lies on the disk of the API. Copying a gigabyte into the store takes longer than an operation may.
    limit = info.context.time_limit
    return nullcontext() if file is None or limit is None else limit.lift()


def open_file(ctx: Context, file: Upload | None, url: str | None) -> AbstractAsyncContextManager[uploads.Upload]:
    """Open the file, or the one at the URL. Raises InvalidInput unless exactly one of them is given."""
    if url is None and file is not None:
        return nullcontext(file)
    if url is not None and file is None:
        return remote_file(ctx, url)
    raise InvalidInput(Code.REQUIRED, "Give exactly one of `file` and `url`.", "file")
