"""importEvents, and what a worker does with the rows: the same rules as recordEvents, row by row.

The upload is copied into the store while its lines are counted and its encoding is looked at; only then is there a job.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from app.clock import SystemClock
from app.domain.cells import DateOrder
from app.domain.columns import ColumnMapping
from app.domain.errors import Code, InvalidInput, Problem, Refused
from app.domain.events import EventInput
from app.domain.imports import MAX_SOURCE, ImportOrder, Plan, default_source, planned
from app.domain.jobs import Job, JobKind, JobStatus, Tally
from app.domain.tables import Reading, Row, encoding_of, first_rows, layout_of
from app.domain.texts import parse_text
from app.store.ids import ordered_id
from app.store.jobs import PART_BYTES

from .context import Context
from .record import Outcome, Status, record_events

HEAD_BYTES = 262_144
CHANNEL = "IMPORT"
REPORT_COLUMNS = ("row", "code", "field", "message", "text")
LEGACY = "The file is not UTF-8; it was read as Windows-1252."
NO_DATES = "No column was mapped to occurredAt: every event occurs when it is recorded."


class Upload(Protocol):
    """A file that is read in parts."""

    filename: str | None

    async def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes that follow; none at the end."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What became of some rows: the counts, and a line of the report for each row that failed."""

    tally: Tally
    report: list[tuple[str, ...]]


async def import_events(
    ctx: Context,
    file: Upload,
    *,
    source: str | None = None,
    columns: Sequence[ColumnMapping] | None = None,
    timezone: str | None = None,
    date_order: DateOrder | None = None,
    create_missing_passes: bool = True,
    dry_run: bool = False,
) -> Job:
    """The job that will record the rows of a CSV file, with a plan guessed from its first rows where `columns` is None.

    Repeating it makes another job whose rows are all duplicates. Raises Refused for a file or a mapping that cannot be
    used, before anything is stored; Unavailable, safe to repeat.
    """
    head = await _read(file, HEAD_BYTES)
    whole = len(head) < HEAD_BYTES
    named = default_source(file.filename or "") if source is None else parse_text(source, "source", most=MAX_SOURCE)
    profile = await ctx.profile()
    layout = layout_of(head, whole=whole, encoding=encoding_of(head))
    rows = first_rows(head, layout, whole=whole)
    if whole and not rows:
        raise InvalidInput(Code.REQUIRED, "The file has no rows below the names of its columns.", "file")
    plan = planned(
        layout,
        [row.cells for row in rows if row.problem is None],
        columns,
        source=named,
        timezone=timezone or profile.timezone,
        currency=profile.currency,
        date_order=date_order,
    )
    job_id = ordered_id("job")
    now = await SystemClock().now()
    copied = await _copied(ctx, job_id, head, file, now)
    plan = replace(plan, layout=replace(layout, encoding=copied.encoding))
    warnings = [LEGACY] if copied.encoding != "utf-8" else []
    warnings += [] if any(mapping.field == "occurredAt" for mapping in plan.mappings) else [NO_DATES]
    total = max(0, copied.lines - 1)
    job = Job(job_id, JobKind.IMPORT, JobStatus.QUEUED, Tally(), total, now, named, dry_run, tuple(warnings))
    order = ImportOrder(plan, create_missing_passes, copied.size)
    await ctx.workspace.jobs.insert(job, order, ctx.actor.key_id, plan.layout.start)
    ctx.resources.bus.wake("jobs", job_id)
    return job


async def carry_rows(
    ctx: Context, plan: Plan, first: int, rows: Sequence[Row], *, create_missing_passes: bool, dry_run: bool
) -> Carried:
    """What became of rows `first`, `first` + 1 and so on, at most 1,000.

    Safe to repeat: an event that the same batch of the same job (`ctx.batch`) recorded before, in a run that died before
    it could count, is counted as created, and not as the duplicate that it now is.
    """
    inputs: list[EventInput] = []
    places: list[int] = []
    refused: dict[int, tuple[Problem, ...]] = {}
    for place, row in enumerate(rows):
        if row.problem is not None:
            refused[place] = (row.problem,)
            continue
        try:
            inputs.append(plan.event(first + place, row.cells))
            places.append(place)
        except Refused as error:
            refused[place] = error.problems
    created = duplicate = 0
    if inputs:
        outcome = await record_events(
            ctx, inputs, create_missing_passes=create_missing_passes, historical=True, dry_run=dry_run
        )
        created = _own(ctx, outcome)
        duplicate = outcome.created + outcome.duplicate - created
        refused |= {places[result.index]: result.problems for result in outcome.results if result.problems}
    report = [_line(first + place, problem, rows[place]) for place in sorted(refused) for problem in refused[place]]
    return Carried(Tally(created, duplicate, len(refused)), report)


def _own(ctx: Context, outcome: Outcome) -> int:
    own: set[str] = set()
    for result in outcome.results:
        event = result.event
        if event is not None and (
            result.status is Status.CREATED
            or (result.status is Status.DUPLICATE and ctx.batch is not None and event.origin.batch == ctx.batch)
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
