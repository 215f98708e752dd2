"""importEvents, and what a worker does with the rows: the same rules as recordEvents, row by row.

The upload is copied into the store while its lines are counted and its encoding is looked at; only then is there a job.
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
from app.domain.files.csv_table import Reading
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
CHANNEL = "IMPORT"
REPORT_COLUMNS = ("row", "code", "field", "message", "text")
LEGACY_ENCODING_WARNING = "The file is not UTF-8; it was read as Windows-1252."
NO_DATES_WARNING = "No column was mapped to occurredAt: every event occurs when it is recorded."


class Upload(Protocol):
    """A file that is read in parts."""

    filename: str | None

    async def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes that follow; none at the end."""


@dataclass(frozen=True, slots=True)
class RecordedRows:
    """What became of some rows: the counts, and a line of the report for each row that failed."""

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
    """The job that will record the rows of a file, with a plan guessed from its first rows where `columns` is None.

    Repeating it makes another job whose rows are all duplicates. Raises Refused for a file or a mapping that cannot be
    used, before anything is stored; Unavailable, safe to repeat.
    """
    head = await _read(file, HEAD_BYTES)
    named = default_source(file.filename or "") if source is None else parse_text(source, "source", most=MAX_SOURCE)
    profile = await ctx.profile()
    plan, _ = plan_import(
        kind,
        head,
        columns or (),
        whole=len(head) < HEAD_BYTES,
        guess=columns is None,
        source=named,
        timezone=timezone or profile.timezone,
        currency=profile.currency,
        date_order=date_order,
    )
    job_id = ordered_id("job")
    now = await SystemClock().now()
    copied = await _copied(ctx, job_id, head, file, now)
    warnings = []
    total = copied.lines
    if isinstance(plan, TablePlan):
        plan = replace(plan, layout=replace(plan.layout, encoding=copied.encoding))
        warnings += [LEGACY_ENCODING_WARNING] if copied.encoding != "utf-8" else []
        warnings += [] if any(mapping.field == "occurredAt" for mapping in plan.mappings) else [NO_DATES_WARNING]
        total = max(0, total - 1)
    job = Job(job_id, JobKind.IMPORT, JobStatus.QUEUED, Tally(), total, now, named, dry_run, tuple(warnings))
    order = ImportOrder(plan, create_missing_passes, copied.size)
    await ctx.workspace.jobs.insert(job, order, ctx.actor.key_id, plan.begin)
    ctx.resources.bus.wake("jobs", job_id)
    return job


async def record_rows(
    ctx: Context, plan: ImportPlan, first: int, rows: Sequence[Row], *, create_missing_passes: bool, dry_run: bool
) -> RecordedRows:
    """What became of rows `first`, `first` + 1 and so on, at most 1,000.

    Safe to repeat: an event that the same batch of the same job (`ctx.batch`) recorded before, in a run that died before
    it could count, is counted as created, and not as the duplicate that it now is.
    """
    inputs: dict[int, EventInput] = {}
    refused: dict[int, tuple[Problem, ...]] = {}
    for place, row in enumerate(rows):
        if row.problem is not None:
            refused[place] = (row.problem,)
            continue
        try:
            sent = plan.event(first + place, row)
        except Refused as error:
            refused[place] = error.problems
            continue
        named = plan.corrects(row)
        inputs[place] = sent if named is None else replace(sent, correction_of=event_id(ctx.workspace.id, *named))
    created = duplicate = 0
    for place, problems in (await _known(ctx, plan, rows, inputs)).items():
        del inputs[place]
        if problems:
            refused[place] = problems
        else:
            duplicate += 1
    while inputs:
        places = _independent(ctx, inputs)
        outcome = await record_events(
            ctx,
            [inputs.pop(place) for place in places],
            create_missing_passes=create_missing_passes,
            historical=True,
            dry_run=dry_run,
        )
        own = _own(ctx, outcome)
        created += own
        duplicate += outcome.created + outcome.duplicate - own
        refused |= {places[result.index]: result.problems for result in outcome.results if result.problems}
    report = [_line(first + place, problem, rows[place]) for place in sorted(refused) for problem in refused[place]]
    return RecordedRows(Tally(created, duplicate, len(refused)), report)


async def _known(
    ctx: Context, plan: ImportPlan, rows: Sequence[Row], inputs: Mapping[int, EventInput]
) -> dict[int, tuple[Problem, ...]]:
    """The rows that were exported from this workspace and whose events are here, and what speaks against them.

    Those that this batch recorded itself, in a run that died, are left to be counted as such.
    """
    ids = {place: name for place in inputs if (name := plan.known_as(rows[place])) is not None}
    stored = await ctx.workspace.events.stored(list(ids.values())) if ids else {}
    removed = Problem(Code.EVENT_REMOVED, "This event was removed; it is not recorded again.", ("id",))
    found: dict[int, tuple[Problem, ...]] = {}
    for place, name in ids.items():
        if name in stored:
            event = stored[name].event
            if event is None:
                found[place] = (removed,)
            elif ctx.batch is None or event.origin.batch != ctx.batch:
                found[place] = ()
    return found


def _independent(ctx: Context, inputs: Mapping[int, EventInput]) -> list[int]:
    """The rows that correct none of the others; those that do are recorded once that is there."""
    if all(each.correction_of is None for each in inputs.values()):
        return list(inputs)
    there = {event_id(ctx.workspace.id, str(each.source), str(each.external_id)) for each in inputs.values()}
    return [place for place, each in inputs.items() if each.correction_of not in there] or list(inputs)


def _own(ctx: Context, outcome: BatchOutcome) -> int:
    own: set[str] = set()
    for result in outcome.results:
        event = result.event
        if event is not None and (
            result.status is RecordStatus.CREATED
            or (result.status is RecordStatus.DUPLICATE and ctx.batch is not None and event.origin.batch == ctx.batch)
        ):
            own.add(event.id)
    return len(own)


def _line(number: int, problem: Problem, row: Row) -> tuple[str, ...]:
    return (str(number), problem.code.value, ".".join(problem.field), problem.message, row.text)


@dataclass(slots=True)
class _Copied:
    size: int = 0
    lines: int = 0
    encoding: str = "utf-8"


async def _copied(ctx: Context, job_id: str, head: bytes, file: Upload, at: datetime) -> _Copied:
    """Copies the file into the store, part by part, and tells its size, its lines and its encoding.

    What a failure leaves of it is removed, what a death leaves expires a day later.
    """
    copied, reading = _Copied(), Reading()
    part, n, last = head, 0, b"\n"
    try:
        while part := part + await _read(file, PART_BYTES - len(part)):
            reading.take(part)
            await ctx.workspace.jobs.put_input(job_id, n, part, at)
            copied.size += len(part)
            copied.lines += part.count(b"\n")
            part, n, last = b"", n + 1, part[-1:]
    except BaseException:
        await ctx.workspace.jobs.drop_input(job_id)
        raise
    copied.lines += last != b"\n"
    copied.encoding = reading.encoding
    return copied


async def _read(file: Upload, size: int) -> bytes:
    parts: list[bytes] = []
    while size and (part := await file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
