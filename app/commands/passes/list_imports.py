"""importSegmentMembers: a file of passes for a list of a segment, and the recording of its rows by workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.clock import SystemClock
from app.commands.audit import record_audit_entry
from app.commands.context import Context
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
from app.domain.errors import Problem, Refused
from app.domain.events.events import LIST_ADDED
from app.domain.events.own_events import own_event
from app.domain.files.imports import ImportFormat
from app.domain.files.members import ListedName, MemberImportOrder, plan_member_import
from app.domain.files.row_splitter import Row
from app.domain.ids import listing_id
from app.domain.jobs import Job, JobKind, JobStatus, Tally
from app.domain.passes.lists import list_metadata
from app.store.mongo.ids import ordered_id

from .lists import ListResult, find_listable_segment, find_listed_passes


@dataclass(frozen=True, slots=True)
class ListedRows:
    """Result of some rows: the counts, a line of the report for each problem, and the hashes of the names of each line."""

    tally: Tally
    report: list[tuple[str, ...]]
    names: list[tuple[str, ...] | None]


async def import_segment_members(
    ctx: Context, segment_id: str, list_name: str, file: Upload, *, kind: ImportFormat = ImportFormat.CSV
) -> Job:
    """Create the job that puts the passes of a file on a list of a segment.

    A repeated call creates another job, which changes no list. Raises Refused for a segment or file that cannot be used,
    before anything is stored. Raises Unavailable; safe to repeat.
    """
    await find_listable_segment(ctx, segment_id, list_name)
    head = await read_upload(file, HEAD_BYTES)
    plan = plan_member_import(kind, head, is_whole=len(head) < HEAD_BYTES)
    job_id, now = ordered_id("job"), await SystemClock().now()
    await check_room(ctx, now)
    newline = b"\n" if plan.layout is None else plan.layout.newline.encode()
    copied = await copy_upload(ctx, job_id, head, file, now, newline)
    warnings, total = [], copied.lines
    if plan.layout is not None:
        plan = replace(plan, layout=replace(plan.layout, encoding=copied.encoding))
        warnings = [LEGACY_ENCODING_WARNING] if copied.encoding != "utf-8" else []
        total = max(0, total - 1)
    job = Job(
        id=job_id,
        kind=JobKind.IMPORT_SEGMENT_MEMBERS,
        status=JobStatus.QUEUED,
        tally=Tally(),
        total=total,
        created_at=now,
        warnings=tuple(warnings),
    )
    await record_audit_entry(ctx, "importSegmentMembers", "Segment", segment_id, list=list_name, job=job_id)
    order = MemberImportOrder(segment_id, list_name, plan, size=copied.size)
    await enqueue_upload(ctx, job, order, plan.start)
    return job


async def list_rows(ctx: Context, job_id: str, order: MemberImportOrder, first: int, rows: Sequence[Row]) -> ListedRows:
    """Put the passes of rows on the list, and return the results. Rows are numbered from `first`; at most 1,000.

    The id of each event follows from job and pass, so the call is safe to repeat: events of the same batch (`ctx.batch`)
    count as created again. A pass that a row before named counts as a duplicate.
    """
    names: dict[int, ListedName] = {}
    refused: dict[int, Problem] = {}
    for index, row in enumerate(rows):
        try:
            if row.problem is not None:
                raise Refused(row.problem)
            names[index] = order.plan.read_name(row)
        except Refused as error:
            refused[index] = error.problems[0]
    found = await _find_passes(ctx, names)
    refused |= {
        index: replace(each.problem, field=(names[index].field,))
        for index, each in found.items()
        if each.problem is not None
    }
    listed = [each.pass_id for each in found.values() if each.pass_id is not None]
    created = await _record(ctx, job_id, order, list(dict.fromkeys(listed))) if listed else 0
    key = await ctx.secret()
    return ListedRows(
        Tally(created, len(listed) - created, len(refused)),
        [report_line(first + index, refused[index], rows[index]) for index in sorted(refused)],
        [hash_row(key, rows[index]) if rows[index].problem is None else None for index in sorted(refused)],
    )


async def _find_passes(ctx: Context, names: dict[int, ListedName]) -> dict[int, ListResult]:
    by_id = {index: name.pass_id for index, name in names.items() if name.pass_id is not None}
    by_external_id = {index: name.external_id for index, name in names.items() if name.external_id is not None}
    results = await find_listed_passes(ctx, list(by_id.values()), list(by_external_id.values()))
    return dict(zip((*by_id, *by_external_id), results, strict=True))


async def _record(ctx: Context, job_id: str, order: MemberImportOrder, pass_ids: Sequence[str]) -> int:
    """Record an event for each pass and return how many this batch recorded, in an earlier run or in this one."""
    now, metadata = await ctx.now(), list_metadata(order.segment_id, order.list_name)
    events = [
        own_event(listing_id(job_id, pass_id), pass_id, LIST_ADDED, at=now, origin=ctx.origin, metadata=metadata)
        for pass_id in pass_ids
    ]
    existing = await ctx.workspace.events.insert([(event, b"") for event in events])
    ctx.resources.wake_fold(ctx.workspace.id, pass_ids)
    stored = await ctx.workspace.events.stored([events[index].id for index in existing]) if existing else {}
    own = sum(each.event is not None and each.event.origin.batch == ctx.batch for each in stored.values())
    return len(events) - len(existing) + own
