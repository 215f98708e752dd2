"""Scheduled edits of segments: updateSegment with `scheduledAt`, withdrawSegmentEdit, and the edit when its time has come.

An edit becomes a version exactly once. The worker takes the edit first: from then on, no call replaces or withdraws it. The
version names the edit, so a repeat after a crash finds it. The edit is removed last.
"""

from __future__ import annotations

from app.domain.actors import WRITE, Actor
from app.domain.errors import Code, Conflict, InvalidInput, Refused
from app.domain.segments.edits import ScheduledEdit, parse_scheduled_at
from app.domain.segments.segments import SILENT, Segment, SegmentZone
from app.domain.values.instants import format_instant
from app.resources import Resources
from app.store.mongo.ids import new_id

from .audit import record_audit_entry
from .context import Context
from .definitions import parse_notify, repeat_if_changed
from .segment_zones import parse_own_zone
from .segments import (
    check_segment_version,
    find_live_segment,
    find_segment,
    insert_segment_version,
    parse_segment_criteria,
    refuse_constants,
)


async def schedule_segment_edit(
    ctx: Context,
    segment_id: str,
    scheduled_at: object,
    *,
    criteria: object = None,
    timezone: object = None,
    notify: object = SILENT,
    fire_rules: bool = False,
) -> tuple[Segment, ScheduledEdit]:
    """Store an edit that a worker makes at an instant, in place of an edit that was scheduled before. Return both.

    Safe to repeat. It is checked as if it were made now, and once more when it is made. Raises NotFound, Refused and
    Unavailable.
    """
    segment, now = await find_live_segment(ctx, segment_id), await ctx.now()
    at = parse_scheduled_at(scheduled_at, now)
    if criteria is None and timezone is None:
        raise InvalidInput(Code.REQUIRED, "Give the criteria or the time zone that the segment gets.", "criteria")
    parsed = None if criteria is None else await parse_segment_criteria(ctx, criteria)
    edit = ScheduledEdit(
        id=new_id("edit"),
        segment_id=segment.id,
        at=at,
        criteria=parsed,
        timezone=parse_own_zone(timezone, parsed or segment.criteria),
        notify=parse_notify(notify),
        fires_rules=fire_rules,
        created_at=now,
        created_by=ctx.actor.key_id,
    )
    await check_segment_version(ctx, segment.id, edit.criteria or segment.criteria)
    details = {"key": segment.key, "scheduledAt": format_instant(at)}
    await record_audit_entry(ctx, "updateSegment", "Segment", segment.id, **details)
    if not await ctx.workspace.scheduled_edits.put(edit):
        raise _is_being_made()
    return segment, edit


async def withdraw_segment_edit(ctx: Context, segment_id: str) -> Segment:
    """Delete the scheduled edit of a segment, if it has one, and return the segment. Safe to repeat.

    Raises NotFound, Conflict if a worker is just making the edit, and Unavailable.
    """
    segment = await find_segment(ctx, segment_id)
    if await ctx.workspace.scheduled_edits.get(segment.id) is not None:
        await record_audit_entry(ctx, "withdrawSegmentEdit", "Segment", segment.id, key=segment.key)
        if not await ctx.workspace.scheduled_edits.withdraw(segment.id):
            raise _is_being_made()
    return segment


def _is_being_made() -> Conflict:
    return Conflict("The time of the scheduled edit has come, and it becomes a version just now. Try again.", "id")


async def make_scheduled_edit(resources: Resources, workspace_id: str, segment_id: str) -> None:
    """Insert the version of a scheduled edit whose time has come. Safe to repeat, and to run in several workers at once.

    If the version does not fit the other definitions, the edit keeps the reason and stays. Raises Unavailable.
    """
    workspace = resources.workspace(workspace_id)
    store = workspace.scheduled_edits
    edit = await store.get(segment_id)
    if edit is None or edit.problem is not None or edit.at > await resources.clock.elapsed():
        return
    if not await store.take(edit):
        return
    # The version belongs to the key that scheduled the edit, which may be revoked meanwhile.
    actor = Actor(workspace_id, edit.created_by, name="", scopes=frozenset({WRITE}))
    ctx = Context(workspace, actor, resources)
    try:
        if not await workspace.segments.has_replaced(segment_id, edit.id):
            await repeat_if_changed(lambda: _make(ctx, edit))
    except Refused as refused:
        [problem, *_] = refused.problems
        await store.refuse(edit, problem.code, problem.message)
        return
    await store.remove(edit)


async def _make(ctx: Context, edit: ScheduledEdit) -> None:
    before = await find_live_segment(ctx, edit.segment_id)
    if edit.criteria is not None:
        # A tier that they name may be gone.
        await refuse_constants(ctx, edit.criteria)
    await record_audit_entry(
        ctx, "makeScheduledEdit", "Segment", before.id, entry_id=f"audit_{edit.id}", key=before.key
    )
    await insert_segment_version(
        ctx, before.id, edit.criteria or before.criteria, _zone_after(edit, before), edit.notify,
        read=before.version, fires_rules=edit.fires_rules, edit_id=edit.id,
    )  # fmt: skip


def _zone_after(edit: ScheduledEdit, before: Segment) -> SegmentZone:
    zone = before.zone
    return zone if edit.timezone is None else SegmentZone(edit.timezone, field=zone.field)
