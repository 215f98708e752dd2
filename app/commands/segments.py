"""createSegment, updateSegment, archiveSegment and duplicateSegment. `segment_versions.py` goes back to a version.

A change of criteria, time zone or archiving is one insert of a version with the next revision. A change of labels
updates them in place. The backfill needs no job: it finds the passes that were last evaluated under an older revision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from app.domain.errors import (
    STORE_FAILURES,
    Code,
    Conflict,
    InvalidInput,
    LimitExceeded,
    NotFound,
    Problem,
    refuse_if,
)
from app.domain.segments.comparisons import count_comparisons
from app.domain.segments.criteria import Criteria, iter_types
from app.domain.segments.limits import check_comparisons, check_criteria_size, check_rate, digest_of
from app.domain.segments.local_time import depends_on_zone
from app.domain.segments.parsing import parse_criteria
from app.domain.segments.restating import restate
from app.domain.segments.satisfiability import find_constants
from app.domain.segments.segments import (
    MAX_LIVE_SEGMENTS,
    SILENT,
    TIER_PROGRAM,
    Circle,
    DefinitionKind,
    Segment,
    SegmentZone,
    Version,
    VersionOrigin,
    find_references,
    parse_key,
    sort_by_references,
)
from app.domain.segments.warnings import find_warnings
from app.store.mongo.ids import new_id
from app.store.mongo.points import charge_points

from .audit import record_audit_entry
from .context import Context
from .definitions import (
    DefinitionChanged,
    NextRevision,
    change_labels,
    claim_labels,
    insert_next_version,
    is_renamed,
    key_taken,
    live_tiers,
    name_circle,
    parse_labels,
    parse_notify,
    repeat_if_changed,
    sent_labels,
)
from .events.event_types import event_types
from .events.vocabulary import recorded_types
from .segment_zones import parse_zone_of_segment


async def create_segment(
    ctx: Context,
    key: object,
    name: object,
    criteria: object,
    description: object = None,
    timezone: object = None,
    notify: object = SILENT,
    visible_to_passes: bool = False,
    zone_field: object = None,
) -> Segment:
    """Create a segment and start its backfill. A repeated call raises Conflict: TAKEN at `key`.

    `visible_to_passes`: tokens for one pass may see its id, key and name.
    Raises Refused, with the path of the criterion at fault. Raises Unavailable; safe to repeat.
    """
    parsed_key = parse_key(key, "key")
    labels = parse_labels(new_id("seg"), parsed_key, {"name": name, "description": description}, await ctx.now())
    labels = replace(labels, visible_to_passes=visible_to_passes)
    tree = await parse_segment_criteria(ctx, criteria)
    zone = await parse_zone_of_segment(ctx, timezone, zone_field, tree)
    parsed_notify = parse_notify(notify)
    # A refused call must not take the key from an archived segment.
    await check_segment_version(ctx, labels.id, tree)
    store = ctx.workspace.segments
    labels = await claim_labels(store, labels, "segment")
    await record_audit_entry(ctx, "createSegment", "Segment", labels.id, key=parsed_key)
    try:
        await insert_segment_version(ctx, labels.id, tree, zone, parsed_notify, read=0)
    except DefinitionChanged:
        # Another call has completed the same labels with other criteria.
        raise key_taken("segment") from None
    await store.set_labels(labels)
    return await find_segment(ctx, labels.id)


async def update_segment(
    ctx: Context,
    segment_id: str,
    *,
    name: object = None,
    description: object = None,
    criteria: object = None,
    timezone: object = None,
    notify: object = SILENT,
    fire_rules: bool = False,
    visible_to_passes: bool | None = None,
    zone_field: object = None,
) -> Segment:
    """Update a segment and return it; arguments that are None change nothing. Safe to repeat.

    Other criteria or another time zone make a new version, unless the call is repeated. `notify` decides whether the
    feed shows the transitions that the change itself causes (EMIT) or hides them by default (SILENT). `fire_rules` decides
    whether rules are asked about them. Raises NotFound, Refused and Unavailable.
    """
    return await repeat_if_changed(
        lambda: _update_segment(
            ctx,
            segment_id,
            name,
            description,
            criteria=criteria,
            timezone=timezone,
            notify=notify,
            fire_rules=fire_rules,
            visible_to_passes=visible_to_passes,
            zone_field=zone_field,
        )
    )


async def _update_segment(
    ctx: Context,
    segment_id: str,
    name: object,
    description: object,
    *,
    criteria: object,
    timezone: object,
    notify: object,
    fire_rules: bool,
    visible_to_passes: bool | None,
    zone_field: object,
) -> Segment:
    before = await find_live_segment(ctx, segment_id)
    tree = before.criteria if criteria is None else await parse_segment_criteria(ctx, criteria)
    zone = await parse_zone_of_segment(ctx, timezone, zone_field, tree, before=before.zone)
    parsed_notify = parse_notify(notify)
    sent = sent_labels(name, description, visible_to_passes)
    labels = change_labels(before, sent, await ctx.now())
    is_redefined = (tree.to_dict(), zone) != (before.criteria.to_dict(), before.zone)
    if is_redefined or is_renamed(before, labels):
        await record_audit_entry(ctx, "updateSegment", "Segment", before.id, key=before.key)
    if is_redefined:
        await insert_segment_version(
            ctx, before.id, tree, zone, parsed_notify, read=before.version, fires_rules=fire_rules
        )
    if is_renamed(before, labels):
        await ctx.workspace.segments.set_labels(labels)
    return await find_segment(ctx, segment_id)


async def archive_segment(ctx: Context, segment_id: str, *, notify: object = SILENT) -> Segment:
    """Archive a segment and return it: its members leave, and it is not evaluated any more. Safe to repeat.

    Raises NotFound, Conflict if live segments refer to the segment, and Unavailable.
    """
    return await repeat_if_changed(lambda: _archive_segment(ctx, segment_id, notify))


async def _archive_segment(ctx: Context, segment_id: str, notify: object) -> Segment:
    before = await find_segment(ctx, segment_id)
    if not before.archived:
        await record_audit_entry(ctx, "archiveSegment", "Segment", before.id, key=before.key)
        await insert_segment_version(
            ctx, segment_id, before.criteria, before.zone, parse_notify(notify), read=before.version, archived=True
        )
    return await find_segment(ctx, segment_id)


async def duplicate_segment(ctx: Context, segment_id: str, key: object, name: object = None) -> Segment:
    """Create a segment with the criteria and time zone of another one. Its first transitions are silent.

    Raises as `create_segment` does.
    """
    source = await find_segment(ctx, segment_id)
    title = f"{source.name} (copy)" if name is None else name
    # Criteria that do not depend on local time may have a zone: early versions stored one with each segment, and an edit
    # of the criteria keeps it.
    has_zone = depends_on_zone(source.criteria)
    zone = source.timezone if has_zone and not source.inherits_zone else None
    zone_field = source.zone_field if has_zone else None
    criteria = restate(source.criteria).to_dict()
    return await create_segment(ctx, key, title, criteria, source.description, zone, zone_field=zone_field)


async def insert_segment_version(
    ctx: Context,
    segment_id: str,
    criteria: Criteria,
    zone: SegmentZone,
    notify: str,
    *,
    read: int,
    archived: bool = False,
    fires_rules: bool = False,
    edit_id: str | None = None,
) -> None:
    """Insert the next version of a segment and wake the backfill. Nothing changes if the latest version is equal.

    If another call takes the revision, the checks are repeated with the new definitions. `read` is the number of the
    version from which this one was made, 0 for a new segment. Raises DefinitionChanged if it is not the latest one any
    more. `edit_id` is the id of a scheduled edit: nothing changes if it has become a version before.
    """
    criteria = restate(criteria)
    members = 0 if read == 0 else (await ctx.workspace.segments.member_counts([segment_id]))[segment_id]
    origin = VersionOrigin(ctx.actor.key_id, members, edit_id)

    def build(revision: NextRevision) -> Version | None:
        if edit_id is not None and any(each.edit_id == edit_id for each in revision.versions):
            return None
        return build_segment_version(
            revision, segment_id, criteria, zone, notify,
            read=read, archived=archived, fires_rules=fires_rules, origin=origin,
        )  # fmt: skip

    await insert_next_version(ctx, build)


async def check_segment_version(ctx: Context, segment_id: str, criteria: Criteria) -> None:
    """Raise Refused if a version with these criteria does not fit the other definitions as they are now. Writes nothing.

    The segment may be one that does not exist yet.
    """
    versions = await ctx.workspace.definitions.summaries()
    revision = NextRevision(versions, await ctx.now())
    latest = revision.latest.get(segment_id)
    zone, read = (SegmentZone("UTC"), 0) if latest is None else (SegmentZone(latest.timezone), latest.version)
    try:
        build_segment_version(revision, segment_id, restate(criteria), zone, SILENT, read=read)
    except Circle as circle:
        raise await name_circle(ctx.workspace.segments, circle) from None


def build_segment_version(
    revision: NextRevision,
    segment_id: str,
    criteria: Criteria,
    zone: SegmentZone,
    notify: str,
    *,
    read: int,
    archived: bool = False,
    fires_rules: bool = False,
    origin: VersionOrigin | None = None,
) -> Version | None:
    """Return the version that takes a revision; None if the latest one is equal. Raises Refused and DefinitionChanged."""
    live = revision.live
    if archived:
        revision.check_unreferenced(segment_id)
    else:
        references = find_references(criteria)
        segments = revision.live_of(DefinitionKind.SEGMENT)
        for named_id in references - {segment_id, TIER_PROGRAM}:
            if named_id not in segments:
                raise NotFound("live segment", "criteria")
        if segment_id not in live and len(segments) >= MAX_LIVE_SEGMENTS:
            raise LimitExceeded(f"At most {MAX_LIVE_SEGMENTS} live segments in a workspace; archive one first.", "key")
        sort_by_references({**{key: other.references for key, other in live.items()}, segment_id: references})
    before = revision.latest.get(segment_id)
    digest = digest_of(criteria, *zone.marks)
    has_zone = before is not None and (zone.inherits or before.timezone == zone.timezone)
    if before is not None and has_zone and (before.digest, before.archived) == (digest, archived):
        return None
    revision.check_version(segment_id, read)
    if not archived:
        check_comparisons(
            count_comparisons(criteria), (other for key, other in live.items() if key != segment_id), "criteria"
        )
        check_rate(count_comparisons(criteria), revision.versions, revision.now, "criteria")
    return Version(
        segment_id=segment_id,
        revision=revision.number,
        version=1 if before is None else before.version + 1,
        criteria=criteria,
        timezone=zone.timezone,
        archived=archived,
        notify=notify,
        at=revision.at,
        fires_rules=fires_rules,
        origin=origin,
        inherits_zone=zone.inherits,
        zone_field=zone.field,
    )


async def parse_segment_criteria(ctx: Context, raw: object) -> Criteria:
    """Return the criteria of a segment, checked. Raises Refused, with the path of the criterion at fault."""
    if not isinstance(raw, Mapping):
        raise InvalidInput(Code.REQUIRED, "A segment needs criteria; send the conditions of membership.", "criteria")
    criteria = parse_criteria(raw, (await ctx.profile()).currency, "criteria", allows_list=True)
    check_criteria_size(criteria)
    await charge_points(count_comparisons(criteria))
    await refuse_constants(ctx, criteria)
    return criteria


async def refuse_constants(ctx: Context, criteria: Criteria) -> None:
    """Raise InvalidInput for criteria that no pass can meet now, or that every pass meets. One round trip at most."""
    refuse_if(find_constants(criteria, "criteria", tiers=await live_tiers(ctx, criteria)))


async def warn_about_criteria(ctx: Context, criteria: Criteria) -> list[Problem]:
    """Return warnings about criteria that are valid and look like a mistake.

    At most two round trips, of which one only for criteria with types that are not built in. If the store does not answer,
    there are no warnings: the segment is stored already.
    """
    try:
        recorded = await recorded_types(ctx, set(iter_types(criteria)))
        return list(find_warnings(criteria, await event_types(ctx), recorded, "criteria"))
    except STORE_FAILURES:
        return []


async def find_live_segment(ctx: Context, segment_id: str) -> Segment:
    """Return a segment that is not archived. Raises NotFound and Conflict at `id`, and Unavailable."""
    segment = await find_segment(ctx, segment_id)
    if segment.archived:
        raise Conflict("This segment is archived; call unarchiveSegment first.", "id")
    return segment


async def find_segment(ctx: Context, segment_id: str) -> Segment:
    """Return a segment. Raises NotFound at `id`, and Unavailable."""
    segment = await ctx.workspace.segments.get(segment_id)
    if segment is None:
        raise NotFound("segment", "id")
    return segment
