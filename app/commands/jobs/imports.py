"""importEvents, and the recording of rows by workers, under the same rules as recordEvents.

The upload is copied into the store while its lines are counted and its encoding is detected. The job is created
afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from app.clock import SystemClock
from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.commands.events.outcomes import BatchOutcome, ItemResult
from app.commands.events.record import record_events
from app.commands.uploads import (
    HEAD_BYTES,
    LEGACY_ENCODING_WARNING,
    Upload,
    check_room,
    copy_upload,
    enqueue_upload,
    hash_row,
    read_upload,
    report_line,
)
from app.domain.errors import Code, Problem, Refused
from app.domain.events.events import EventInput
from app.domain.events.receipts import RecordStatus
from app.domain.files.columns import ColumnMapping
from app.domain.files.csv_numbers import DecimalMark
from app.domain.files.csv_values import DateOrder
from app.domain.files.import_plan import MAX_SOURCE, ImportOrder, ImportPlan, default_source
from app.domain.files.imports import ImportFormat, TablePlan, plan_import
from app.domain.files.row_splitter import Row
from app.domain.ids import event_id
from app.domain.jobs import Job, JobKind, JobStatus, Tally
from app.domain.values.text import parse_text
from app.store.mongo.ids import ordered_id

CHANNEL = "IMPORT"
REPORT_COLUMNS = ("row", "code", "field", "message", "text")
NO_DATES_WARNING = "No column was mapped to occurredAt: every event occurs when it is recorded."
OTHER_FILE_WARNING = (
    "Rows conflict with rows that were recorded under the same source and number. So this is another file, or it was read in"
    " another way, and its other rows were not recorded. Give the file a source of its own (--source), or map a column of"
    " unique ids to externalId."
)
_WITHHELD = Problem(
    Code.CONFLICT,
    "Not recorded: other rows of this file conflict with rows of the same source and number. Give the file a source of its"
    " own, or map a column of unique ids to externalId.",
    ("externalId",),
)


@dataclass(frozen=True, slots=True)
class RecordedRows:
    """Result of some rows: the counts, and a line of the report for each problem.

    `names` has for each line the hashes of the names in its row, or None for a row that cannot be read.
    `is_other_file` means that a row conflicts with the row of the same number of another file.
    """

    tally: Tally
    report: list[tuple[str, ...]]
    names: list[tuple[str, ...] | None]
    is_other_file: bool


async def import_events(
    ctx: Context,
    file: Upload,
    *,
    kind: ImportFormat = ImportFormat.CSV,
    source: str | None = None,
    columns: Sequence[ColumnMapping] | None = None,
    timezone: str | None = None,
    date_order: DateOrder | None = None,
    decimal_mark: DecimalMark | None = None,
    create_missing_passes: bool = True,
    dry_run: bool = False,
) -> Job:
    """Create the job that records the rows of a file. If `columns` is None, the plan is guessed from the first rows.

    A repeated call creates another job, whose rows are all duplicates. Raises Refused for a file or mapping that cannot
    be used, before anything is stored. Raises Unavailable; safe to repeat.
    """
    head = await read_upload(file, HEAD_BYTES)
    parsed_source = (
        default_source(file.filename or "") if source is None else parse_text(source, "source", max_length=MAX_SOURCE)
    )
    profile = await ctx.profile()
    plan, _ = plan_import(
        kind,
        head,
        columns or (),
        is_whole=len(head) < HEAD_BYTES,
        guess=columns is None,
        source=parsed_source,
        timezone=timezone or profile.timezone,
        currency=profile.currency,
        date_order=date_order,
        decimal_mark=decimal_mark,
    )
    job_id = ordered_id("job")
    now = await SystemClock().now()
    await check_room(ctx, now)
    newline = plan.layout.newline.encode() if isinstance(plan, TablePlan) else b"\n"
    copied = await copy_upload(ctx, job_id, head, file, now, newline)
    warnings = [] if plan.has_instants else [NO_DATES_WARNING]
    total = copied.lines
    if isinstance(plan, TablePlan):
        plan = replace(plan, layout=replace(plan.layout, encoding=copied.encoding))
        warnings += [LEGACY_ENCODING_WARNING] if copied.encoding != "utf-8" else []
        total = max(0, total - 1)
    job = Job(
        id=job_id,
        kind=JobKind.IMPORT,
        status=JobStatus.QUEUED,
        tally=Tally(),
        total=total,
        created_at=now,
        source=parsed_source,
        dry_run=dry_run,
        warnings=tuple(warnings),
    )
    order = ImportOrder(plan, create_missing_passes, copied.size)
    await record_audit_entry(ctx, "importEvents", "Job", job_id, dryRun=str(dry_run).lower())
    await enqueue_upload(ctx, job, order, plan.start)
    return job


async def record_rows(
    ctx: Context,
    plan: ImportPlan,
    first: int,
    rows: Sequence[Row],
    *,
    create_missing_passes: bool,
    dry_run: bool,
    is_other_file: bool = False,
) -> RecordedRows:
    """Record the rows from number `first` on, at most 1,000, and return their results.

    If a row that is identified by its number conflicts with a stored one, the file is another one. Then its rows without
    ids are not recorded: their numbers would count events of both files twice. `is_other_file` says that an earlier
    batch found such a conflict.

    Safe to repeat. If a crashed run of this job recorded events of the same batch (`ctx.batch`) without counting them,
    they count as created, not as duplicates.
    """
    inputs: dict[int, EventInput] = {}
    refused: dict[int, tuple[Problem, ...]] = {}
    left_out = 0
    for index, row in enumerate(rows):
        if row.problem is not None:
            refused[index] = (row.problem,)
            continue
        if plan.is_of_rule(row):
            left_out += 1
            continue
        try:
            parsed = plan.parse_row(first + index, row)
        except Refused as error:
            refused[index] = error.problems
            continue
        corrected = plan.find_corrected_identity(row)
        inputs[index] = (
            parsed if corrected is None else replace(parsed, correction_of=event_id(ctx.workspace.id, *corrected))
        )
    created = duplicate = 0
    declined = Problem(
        Code.NOT_COUNTED, "This event was declined where it was exported; it is not recorded.", ("outcome",)
    )
    for index, problems in (await _find_exported(ctx, plan, rows, inputs)).items():
        del inputs[index]
        if problems:
            refused[index] = problems
        else:
            duplicate += 1
    for index in [index for index in inputs if plan.is_declined(rows[index])]:
        del inputs[index]
        refused[index] = (declined,)

    async def record(indexes: Sequence[int], *, dry_run: bool) -> BatchOutcome:
        return await record_events(
            ctx,
            [inputs[index] for index in indexes],
            create_missing_passes=create_missing_passes,
            historical=True,
            dry_run=dry_run,
        )

    numbered = [index for index in inputs if plan.is_numbered(rows[index])]
    if known := await _find_known(ctx, inputs, numbered):
        # These rows are stored, so a dry run gives their results. It creates no pass for a row that conflicts.
        outcome = await record(known, dry_run=True)
        stored = [result for result in outcome.results if result.status is not RecordStatus.CREATED]
        is_other_file = is_other_file or any(result.status is RecordStatus.CONFLICT for result in stored)
        for result in stored:
            del inputs[known[result.index]]
        refused |= {known[result.index]: result.problems for result in stored if result.problems}
        own_count = _count_own(ctx, stored)
        created += own_count
        duplicate += sum(result.status is RecordStatus.DUPLICATE for result in stored) - own_count
    if is_other_file:
        for index in set(numbered) & inputs.keys():
            del inputs[index]
            refused[index] = (_WITHHELD,)
    while inputs:
        indexes = _find_independent(ctx, inputs)
        outcome = await record(indexes, dry_run=dry_run)
        for index in indexes:
            del inputs[index]
        own_count = _count_own(ctx, outcome.results)
        created += own_count
        duplicate += outcome.created + outcome.duplicate - own_count
        refused |= {indexes[result.index]: result.problems for result in outcome.results if result.problems}
        # Another job may have recorded rows of the same numbers since they were looked up.
        conflicts = {indexes[result.index] for result in outcome.results if result.status is RecordStatus.CONFLICT}
        is_other_file = is_other_file or not conflicts.isdisjoint(numbered)
    report = [
        report_line(first + index, problem, rows[index]) for index in sorted(refused) for problem in refused[index]
    ]
    key, constants = await ctx.secret(), [mapping.value for mapping in plan.mappings if mapping.value is not None]
    names = [
        hash_row(key, rows[index], constants) if rows[index].problem is None else None
        for index in sorted(refused)
        for _ in refused[index]
    ]
    return RecordedRows(
        Tally(created, duplicate, len(refused), left_out=left_out), report, names=names, is_other_file=is_other_file
    )


async def _find_known(ctx: Context, inputs: Mapping[int, EventInput], numbered: Sequence[int]) -> list[int]:
    """Return the rows of `numbered` whose ids are stored. One round trip, if any row is identified by its number."""
    ids = {
        index: event_id(ctx.workspace.id, str(inputs[index].source), str(inputs[index].external_id))
        for index in numbered
    }
    stored = await ctx.workspace.events.stored(list(ids.values())) if ids else {}
    return [index for index, identity in ids.items() if identity in stored]


async def _find_exported(
    ctx: Context, plan: ImportPlan, rows: Sequence[Row], inputs: Mapping[int, EventInput]
) -> dict[int, tuple[Problem, ...]]:
    """Return the rows that were exported from this workspace and whose events exist, with the problems of each.

    Rows that this batch recorded itself, in a run that crashed, are left out, so that they count as created.
    """
    ids = {index: exported_id for index in inputs if (exported_id := plan.find_exported_id(rows[index])) is not None}
    stored = await ctx.workspace.events.stored(list(ids.values())) if ids else {}
    removed = Problem(Code.EVENT_REMOVED, "This event was removed; it is not recorded again.", ("id",))
    found: dict[int, tuple[Problem, ...]] = {}
    for index, exported_id in ids.items():
        if exported_id in stored:
            event = stored[exported_id].event
            if event is None:
                found[index] = (removed,)
            elif ctx.batch is None or event.origin.batch != ctx.batch:
                found[index] = ()
    return found


def _find_independent(ctx: Context, inputs: Mapping[int, EventInput]) -> list[int]:
    """Return the rows that correct no other row. The rows that do are recorded after the rows that they correct."""
    if all(each.correction_of is None for each in inputs.values()):
        return list(inputs)
    batch_ids = {event_id(ctx.workspace.id, str(each.source), str(each.external_id)) for each in inputs.values()}
    return [index for index, each in inputs.items() if each.correction_of not in batch_ids] or list(inputs)


def _count_own(ctx: Context, results: Sequence[ItemResult]) -> int:
    own: set[str] = set()
    for result in results:
        event = result.event
        if event is not None and (
            result.status is RecordStatus.CREATED
            or (result.status is RecordStatus.DUPLICATE and ctx.batch is not None and event.origin.batch == ctx.batch)
        ):
            own.add(event.id)
    return len(own)
