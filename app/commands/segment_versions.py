"""revertSegment and unarchiveSegment: a segment gets the criteria of an earlier version as its next version."""

from __future__ import annotations

from app.domain.errors import Code, Conflict, NotFound
from app.domain.segments.comparisons import count_comparisons
from app.domain.segments.segments import SILENT, Segment, parse_key
from app.store.mongo.points import charge_points

from .audit import record_audit_entry
from .context import Context
from .definitions import parse_notify, repeat_if_changed
from .segments import check_segment_version, find_live_segment, find_segment, insert_segment_version, refuse_constants


async def revert_segment(ctx: Context, segment_id: str, version: int, *, notify: object = SILENT) -> Segment:
    """Insert a version with the criteria and time zone of an earlier one, and return the segment. Safe to repeat.

    Nothing changes if the latest version has them. Raises NotFound, Refused and Unavailable.
    """
    return await repeat_if_changed(lambda: _revert_segment(ctx, segment_id, version, notify))


async def _revert_segment(ctx: Context, segment_id: str, number: int, notify: object) -> Segment:
    before = await find_live_segment(ctx, segment_id)
    found = await ctx.workspace.segments.version(segment_id, number)
    if found is None:
        raise NotFound("version of this segment", "version")
    target, parsed_notify = found.version, parse_notify(notify)
    if (target.criteria.to_dict(), target.zone) != (before.criteria.to_dict(), before.zone):
        await charge_points(count_comparisons(target.criteria))
        # A tier that the version names may be gone.
        await refuse_constants(ctx, target.criteria)
        await record_audit_entry(ctx, "revertSegment", "Segment", before.id, key=before.key, version=str(number))
        await insert_segment_version(ctx, before.id, target.criteria, target.zone, parsed_notify, read=before.version)
    return await find_segment(ctx, segment_id)


async def unarchive_segment(ctx: Context, segment_id: str, *, key: object = None, notify: object = SILENT) -> Segment:
    """Evaluate an archived segment again by its latest criteria, and return it. Safe to repeat.

    `key` is a new key; None for the one that the segment has. Raises Conflict: TAKEN at `key` if another segment has the
    key. Raises NotFound, Refused and Unavailable.
    """
    return await repeat_if_changed(lambda: _unarchive_segment(ctx, segment_id, key, notify))


async def _unarchive_segment(ctx: Context, segment_id: str, key: object, notify: object) -> Segment:
    before = await find_segment(ctx, segment_id)
    parsed_notify = parse_notify(notify)
    wanted = before.key if key is None else parse_key(key, "key")
    if not before.archived:
        return before
    # A refused call must not keep the key from others.
    await check_segment_version(ctx, before.id, before.criteria)
    await record_audit_entry(ctx, "unarchiveSegment", "Segment", before.id, key=wanted)
    # The key comes first. After a crash, it stays with the segment until the call is repeated.
    await _take_key(ctx, before, wanted)
    await insert_segment_version(ctx, before.id, before.criteria, before.zone, parsed_notify, read=before.version)
    return await find_segment(ctx, segment_id)


async def _take_key(ctx: Context, segment: Segment, key: str) -> None:
    """Give the key to an archived segment that is about to be unarchived. Raises Conflict.

    If calls with different keys run at once, the first one wins. After a crash, a repeat needs the key of the first one.
    """
    store, version = ctx.workspace.segments, segment.version + 1
    while not await store.hold_key(segment.id, key, version):
        held = await store.held_key(segment.id, version)
        if held not in (None, key):
            message = f"Another call unarchives this segment with the key {held!r}. Read the segment, or give that key."
            raise Conflict(message, "key")
        holder = await store.by_key(key)
        if holder is not None and not await store.free_key(holder.id, key):
            raise Conflict("Another segment has this key; give a new key.", "key", code=Code.TAKEN)
