"""Scheduled edits of segments: updateSegment with `scheduledAt`, withdrawSegmentEdit, and the edit when its time has come.

An edit becomes a version exactly once. The worker takes the edit first: from then on, no call replaces or withdraws it. The
version names the edit, so a repeat after a crash finds it, and so do the labels. The edit is removed last.
"""

from __future__ import annotations

from contextlib import suppress

from app.domain.actors import WRITE, Actor
from app.domain.errors import Code, Conflict, InvalidInput, Refused
from app.domain.segments.edits import RETRY_AFTER, ScheduledEdit, parse_scheduled_at
from app.domain.segments.limits import DailyLimitExceeded
from app.domain.segments.segments import SILENT, Segment
from app.domain.values.instants import format_instant
from app.resources import Resources
from app.store.mongo.ids import new_id

from .audit import record_audit_entry
from .context import Context
from .definitions import change_labels, is_renamed, parse_notify, repeat_if_changed, sent_labels
from .segment_zones import parse_zone_of_segment
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
    name: object = None,
    description: object = None,
    visible_to_passes: bool | None = None,
    zone_field: object = None,
    notify: object = SILENT,
    fire_rules: bool = False,
) -> tuple[Segment, ScheduledEdit]:
    """Store an edit that a worker makes at an instant, in place of an edit that was scheduled before. Return both.

    Arguments that are None change nothing. Safe to repeat. The edit is checked as if it were made now, and once more when
    it is made. Raises NotFound, Refused and Unavailable.
    """
    segment, now = await find_live_segment(ctx, segment_id), await ctx.now()
    at = parse_scheduled_at(scheduled_at, now)
    labels = sent_labels(name, description, visible_to_passes)
    if not labels and criteria is None and timezone is None and zone_field is None:
        raise InvalidInput(Code.REQUIRED, "Give what the segment gets, such as its criteria.", "criteria")
    parsed = None if criteria is None else await parse_segment_criteria(ctx, criteria)
    change_labels(segment, labels, now)
    zone = await parse_zone_of_segment(ctx, timezone, zone_field, parsed or segment.criteria, before=segment.zone)
    edit = ScheduledEdit(
        id=new_id("edit"),
        segment_id=segment.id,
        at=at,
        criteria=parsed,
        timezone=timezone if timezone in (None, "") else zone.timezone,
        zone_field=zone_field if zone_field in (None, "") else zone.field,
        labels=labels,
        notify=parse_notify(notify),
        fires_rules=fire_rules,
        created_at=now,
        created_by=ctx.actor.key_id,
    )
    # The changes of today do not count at that instant.
    with suppress(DailyLimitExceeded):
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

    If the version does not fit the other definitions, the edit keeps the reason and stays. If there were too many changes
    in the last 24 hours, it is made again an hour later. Raises Unavailable.
    """
    workspace = resources.workspace(workspace_id)
    store = workspace.scheduled_edits
    edit = await store.get(segment_id)
    now = await resources.clock.elapsed()
    if edit is None or edit.due_at is None or edit.due_at > now:
        return
    if not await store.take(edit):
        return
    # The version belongs to the key that scheduled the edit, which may be revoked meanwhile.
    actor = Actor(workspace_id, edit.created_by, name="", scopes=frozenset({WRITE}))
    ctx = Context(workspace, actor, resources)
    try:
        is_version = await workspace.segments.has_replaced(segment_id, edit.id)
        if edit.labels or not is_version:
            await repeat_if_changed(lambda: _make(ctx, edit, is_version=is_version))
    except Refused as refused:
        [problem, *_] = refused.problems
        retry_at = now + RETRY_AFTER if isinstance(refused, DailyLimitExceeded) else None
        await store.refuse(edit, problem.code, problem.message, retry_at=retry_at)
        return
    await store.remove(edit)


async def _make(ctx: Context, edit: ScheduledEdit, *, is_version: bool) -> None:
    before = await find_live_segment(ctx, edit.segment_id)
    criteria = edit.criteria or before.criteria
    if edit.criteria is not None:
        # A tier that they name may be gone.
        await refuse_constants(ctx, edit.criteria)
    zone = await parse_zone_of_segment(ctx, edit.timezone, edit.zone_field, criteria, before=before.zone)
    labels = change_labels(before, edit.labels, await ctx.now())
    await record_audit_entry(
        ctx, "makeScheduledEdit", "Segment", before.id, entry_id=f"audit_{edit.id}", key=before.key
    )
    if not is_version:
        await insert_segment_version(
            ctx, before.id, criteria, zone, edit.notify,
            read=before.version, fires_rules=edit.fires_rules, edit_id=edit.id,
        )  # fmt: skip
    if is_renamed(before, labels):
        await ctx.workspace.segments.set_labels(labels, edit_id=edit.id)
