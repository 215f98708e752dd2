"""createSegment, updateSegment, archiveSegment and duplicateSegment.

A change of criteria, zone or archiving is one insert of a version with the next revision; labels are changed in place.
The backfill is whoever finds passes judged under an older revision: there is no job that could be lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from zoneinfo import ZoneInfo

from app.domain.errors import Code, Conflict, InvalidInput, LimitExceeded, NotFound, Unavailable
from app.domain.segments.criteria import Criteria, parse_criteria
from app.domain.segments.segments import (
    EMIT,
    MAX_LIVE_SEGMENTS,
    SILENT,
    Definitions,
    Segment,
    Version,
    in_dependency_order,
    parse_key,
    references,
)
from app.domain.values.text import parse_optional, parse_text
from app.store.mongo.ids import new_id
from app.store.workspace.segments import SegmentLabels

from .audit import record_audit_entry
from .context import Context

MAX_TRIES = 20


async def create_segment(
    ctx: Context,
    key: object,
    name: object,
    criteria: object,
    description: object = None,
    timezone: object = None,
    notify: object = SILENT,
) -> Segment:
    """The new segment, its backfill under way. Repeating it says TAKEN at `key`.

    Raises Refused (with the path of the criterion at fault), Unavailable (safe to repeat).
    """
    checked = parse_key(key, "key")
    now = await ctx.now()
    labels = SegmentLabels(
        new_id("seg"),
        checked,
        parse_text(name, "name"),
        parse_optional(description, "description", most=2000),
        now,
        now,
    )
    tree = await _criteria(ctx, criteria)
    zone = await _zone(ctx, timezone)
    told = _notify(notify)
    store = ctx.workspace.segments
    if not await store.insert_labels(labels):
        there = await store.by_key(checked)
        # A key whose owner was never defined is what an interrupted call left: this one finishes it.
        if there is None or await store.get(there.id) is not None:
            raise Conflict("Another segment has this key.", "key", code=Code.TAKEN)
        labels = replace(labels, id=there.id, created_at=there.created_at)
    await record_audit_entry(ctx, "createSegment", "Segment", labels.id, key=checked)
    await _define(ctx, labels.id, tree, zone, told)
    await store.set_labels(labels)
    return await _found(ctx, labels.id)


async def update_segment(
    ctx: Context,
    segment_id: str,
    *,
    name: object = None,
    description: object = None,
    criteria: object = None,
    timezone: object = None,
    notify: object = SILENT,
) -> Segment:
    """The segment as changed; what is None stays. Other criteria or another zone make a new version; repeating makes none.

    `notify` says whether the flips caused by the change itself are told (EMIT) or hidden by default (SILENT). Raises
    NotFound, Refused, Unavailable (safe to repeat).
    """
    before = await _found(ctx, segment_id)
    if before.archived:
        raise Conflict("This segment is archived; duplicate it to go on with its criteria.", "id")
    tree = before.criteria if criteria is None else await _criteria(ctx, criteria)
    zone = before.timezone if timezone is None else await _zone(ctx, timezone)
    told = _notify(notify)
    labels = SegmentLabels(
        before.id,
        before.key,
        before.name if name is None else parse_text(name, "name"),
        before.description if description is None else parse_optional(description, "description", most=2000),
        before.created_at,
        await ctx.now(),
    )
    redefined = (tree.to_dict(), zone) != (before.criteria.to_dict(), before.timezone)
    renamed = (labels.name, labels.description) != (before.name, before.description)
    if redefined or renamed:
        await record_audit_entry(ctx, "updateSegment", "Segment", before.id, key=before.key)
    if redefined:
        await _define(ctx, before.id, tree, zone, told)
    if renamed:
        await ctx.workspace.segments.set_labels(labels)
    return await _found(ctx, segment_id)


async def archive_segment(ctx: Context, segment_id: str, *, notify: object = SILENT) -> Segment:
    """The segment, archived: its members leave it, and it is judged no more. Safe to repeat.

    Raises NotFound, Conflict where live segments refer to it, Unavailable.
    """
    before = await _found(ctx, segment_id)
    if not before.archived:
        await record_audit_entry(ctx, "archiveSegment", "Segment", before.id, key=before.key)
        await _define(ctx, segment_id, before.criteria, before.timezone, _notify(notify), archived=True)
    return await _found(ctx, segment_id)


async def duplicate_segment(ctx: Context, segment_id: str, key: object, name: object = None) -> Segment:
    """A new segment with the criteria and zone of another, silent in its first filling. Raises as `create_segment` does."""
    source = await _found(ctx, segment_id)
    title = f"{source.name} (copy)" if name is None else name
    return await create_segment(ctx, key, title, source.criteria.to_dict(), source.description, source.timezone)


async def _define(
    ctx: Context, segment_id: str, criteria: Criteria, timezone: str, notify: str, *, archived: bool = False
) -> None:
    store = ctx.workspace.segments
    for _ in range(MAX_TRIES):
        definitions = Definitions(await store.versions())
        latest = definitions.latest()
        live = {key: version.criteria for key, version in latest.items() if not version.archived}
        if archived:
            users = [key for key, tree in live.items() if key != segment_id and segment_id in references(tree)]
            if users:
                raise Conflict(
                    f"Live segments refer to this one: {', '.join(users)}. Change or archive them first.", "id"
                )
        else:
            for other in references(criteria) - {segment_id}:
                if other not in live:
                    raise NotFound("live segment", "criteria")
            if segment_id not in live and len(live) >= MAX_LIVE_SEGMENTS:
                raise LimitExceeded(
                    f"At most {MAX_LIVE_SEGMENTS} live segments in a workspace; archive one first.", "key"
                )
            in_dependency_order({**live, segment_id: criteria})
        before = latest.get(segment_id)
        if before is not None and (before.criteria, before.timezone, before.archived) == (criteria, timezone, archived):
            return
        now = await ctx.now()
        newest = definitions.versions[-1].at if definitions.versions else now
        number = 1 if before is None else before.version + 1
        version = Version(
            segment_id, definitions.revision + 1, number, criteria, timezone, archived, notify, max(now, newest)
        )
        if await store.insert_version(version):
            ctx.resources.bus.wake("backfill", ctx.workspace.id)
            return
    raise Unavailable("store")


async def _criteria(ctx: Context, raw: object) -> Criteria:
    if not isinstance(raw, Mapping):
        raise InvalidInput(Code.REQUIRED, "Say who belongs to the segment.", "criteria")
    return parse_criteria(raw, (await ctx.profile()).currency, "criteria")


async def _zone(ctx: Context, raw: object) -> str:
    if raw is None:
        return (await ctx.profile()).timezone
    try:
        return ZoneInfo(str(raw)).key
    except (ValueError, OSError, KeyError):
        raise InvalidInput(
            Code.UNKNOWN, 'No such time zone; use an IANA name, for example "Europe/Berlin".', "timezone"
        ) from None


def _notify(raw: object) -> str:
    if str(raw) not in (SILENT, EMIT):
        raise InvalidInput(Code.UNKNOWN, f"One of {SILENT}, {EMIT}.", "notify")
    return str(raw)


async def _found(ctx: Context, segment_id: str) -> Segment:
    segment = await ctx.workspace.segments.get(segment_id)
    if segment is None:
        raise NotFound("segment", "id")
    return segment
