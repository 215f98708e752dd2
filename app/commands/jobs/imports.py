"""importEvents, and the recording of rows by workers, under the same rules as recordEvents.

The upload is copied into the store while its lines are counted and its encoding is detected. The job is created
afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from app.clock import SystemClock
from app.commands.context import Context
from app.commands.events.outcomes import BatchOutcome
from app.commands.events.record import record_events
from app.domain.errors import Code, Problem, Refused
from app.domain.events.events import EventInput
from app.domain.events.receipts import RecordStatus
from app.domain.files.columns import ColumnMapping
from app.domain.files.csv_table import EncodingDetector
from app.domain.files.csv_values import DateOrder
from app.domain.files.import_plan import MAX_SOURCE, ImportOrder, ImportPlan, default_source
from app.domain.files.imports import ImportFormat, TablePlan, plan_import
from app.domain.files.row_splitter import Row
from app.domain.ids import event_id
from app.domain.jobs import Job, JobKind, JobStatus, Tally
from app.domain.values.text import parse_text
from app.store.mongo.ids import ordered_id
from app.store.workspace.jobs import PART_BYTES

HEAD_BYTES = 262_144
"""Bytes at the beginning of a file from which the plan is guessed."""
CHANNEL = "IMPORT"
REPORT_COLUMNS = ("row", "code", "field", "message", "text")
LEGACY_ENCODING_WARNING = "The file is not UTF-8; it was read as Windows-1252."
NO_DATES_WARNING = "No column was mapped to occurredAt: every event occurs when it is recorded."


class Upload(Protocol):
    """File that is read in parts."""

    filename: str | None

    async def read(self, size: int = -1) -> bytes:
        """Return the next bytes, at most `size`; empty at the end."""


@dataclass(frozen=True, slots=True)
class RecordedRows:
    """Result of some rows: the counts, and a line of the report for each problem."""

    tally: Tally
    report: list[tuple[str, ...]]


async def import_events(
    ctx: Context,
    file: Upload,
    *,
    kind: ImportFormat = ImportFormat.CSV,
    source: str | None = None,
    columns: Sequence[ColumnMapping] | None = None,
    timezone: str | None = None,
    date_order: DateOrder | None = None,
    create_missing_passes: bool = True,
    dry_run: bool = False,
) -> Job:
    """Create the job that records the rows of a file. If `columns` is None, the plan is guessed from the first rows.

    A repeated call creates another job, whose rows are all duplicates. Raises Refused for a file or mapping that cannot
    be used, before anything is stored. Raises Unavailable; safe to repeat.
    """
    head = await _read(file, HEAD_BYTES)
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
    )
    job_id = ordered_id("job")
    now = await SystemClock().now()
    copied = await _copy_upload(ctx, job_id, head, file, now)
    warnings = []
    total = copied.lines
    if isinstance(plan, TablePlan):
        plan = replace(plan, layout=replace(plan.layout, encoding=copied.encoding))
        warnings += [LEGACY_ENCODING_WARNING] if copied.encoding != "utf-8" else []
        warnings += [] if any(mapping.field == "occurredAt" for mapping in plan.mappings) else [NO_DATES_WARNING]
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
    await ctx.workspace.jobs.insert(job, order, ctx.actor.key_id, plan.start)
    ctx.resources.bus.wake("jobs", job_id)
    return job


async def record_rows(
    ctx: Context, plan: ImportPlan, first: int, rows: Sequence[Row], *, create_missing_passes: bool, dry_run: bool
) -> RecordedRows:
    """Record the rows from number `first` on, at most 1,000, and return their results.

    Safe to repeat. If a crashed run of this job recorded events of the same batch (`ctx.batch`) without counting them,
    they count as created, not as duplicates.
    """
    inputs: dict[int, EventInput] = {}
    refused: dict[int, tuple[Problem, ...]] = {}
    for index, row in enumerate(rows):
        if row.problem is not None:
            refused[index] = (row.problem,)
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
    for index, problems in (await _find_exported(ctx, plan, rows, inputs)).items():
        del inputs[index]
        if problems:
            refused[index] = problems
        else:
            duplicate += 1
    while inputs:
        indexes = _find_independent(ctx, inputs)
        outcome = await record_events(
            ctx,
            [inputs.pop(index) for index in indexes],
            create_missing_passes=create_missing_passes,
            historical=True,
            dry_run=dry_run,
        )
        own_count = _count_own(ctx, outcome)
        created += own_count
        duplicate += outcome.created + outcome.duplicate - own_count
        refused |= {indexes[result.index]: result.problems for result in outcome.results if result.problems}
    report = [
        _report_line(first + index, problem, rows[index]) for index in sorted(refused) for problem in refused[index]
    ]
    return RecordedRows(Tally(created, duplicate, len(refused)), report)


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


def _count_own(ctx: Context, outcome: BatchOutcome) -> int:
    own: set[str] = set()
    for result in outcome.results:
        event = result.event
        if event is not None and (
            result.status is RecordStatus.CREATED
            or (result.status is RecordStatus.DUPLICATE and ctx.batch is not None and event.origin.batch == ctx.batch)
        ):
            own.add(event.id)
    return len(own)


def _report_line(number: int, problem: Problem, row: Row) -> tuple[str, ...]:
    return (str(number), problem.code.value, ".".join(problem.field), problem.message, row.text)


@dataclass(slots=True)
class _CopiedUpload:
    """Size, number of lines and encoding of an upload."""

    size: int = 0
    lines: int = 0
    encoding: str = "utf-8"


async def _copy_upload(ctx: Context, job_id: str, head: bytes, file: Upload, at: datetime) -> _CopiedUpload:
    """Copy the file into the store, part by part, and return its size, number of lines and encoding.

    If the copy fails, its parts are deleted. After a crash, they expire a day later.
    """
    copied, detector = _CopiedUpload(), EncodingDetector()
    part, number, last_byte = head, 0, b"\n"
    try:
        while part := part + await _read(file, PART_BYTES - len(part)):
            detector.take(part)
            await ctx.workspace.jobs.put_input(job_id, number, part, at)
            copied.size += len(part)
            copied.lines += part.count(b"\n")
            part, number, last_byte = b"", number + 1, part[-1:]
    except BaseException:
        await ctx.workspace.jobs.drop_input(job_id)
        raise
    copied.lines += last_byte != b"\n"
    copied.encoding = detector.encoding
    return copied


async def _read(file: Upload, size: int) -> bytes:
    parts: list[bytes] = []
    while size and (part := await file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
