"""Segments: the type with its members, and the queries that find and list segments."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import strawberry

from app.commands.segment_zones import zone_of
from app.domain.actors import READ
from app.domain.passes import passes
from app.domain.segments import segments as domain
from app.domain.values.instants import to_ms
from app.domain.values.periods import PeriodUnit
from app.graphql.context import Info, RequestContext
from app.graphql.types.consistency import Consistency, ConsistencyArgument, TokenArgument
from app.graphql.types.enums import describe_enum
from app.graphql.types.ids import to_global_id
from app.graphql.types.named import find_named_id, list_objects
from app.graphql.types.node import Node, fetcher
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.graphql.types.scalars import RawDateTime
from app.store.mongo.paging import Page

from .criteria import SegmentCriteria, criteria_of
from .history import MembershipConnection, SegmentSize, members_at, selected_freshness, sizes_over_time, with_progress
from .memberships import membership_of
from .versions import ScheduledSegmentEdit, SegmentVersion, scheduled_edit_of, version_of

AtArgument = Annotated[
    RawDateTime | None,
    strawberry.argument(
        description="Instant of the past, not after `computedThrough` of the connection. A merged pass is listed as the "
        "pass that remains, and an erased pass is left out. Default: now."
    ),
]


class SegmentStatus(StrEnum):
    """State of a segment."""

    ACTIVE = "ACTIVE"
    ARCHIVED = "ARCHIVED"


describe_enum(
    SegmentStatus,
    "SegmentStatus",
    {
        "ACTIVE": "Passes enter and leave the segment by its criteria.",
        "ARCHIVED": "The segment has no members and is not evaluated.",
    },
)


@strawberry.type
class SegmentBackfill:
    """Progress of the evaluation of all passes under the current version of a segment."""

    total: int = strawberry.field(description="Number of passes in the workspace.")
    judged: int = strawberry.field(description="Number of passes that are evaluated under the current version.")
    done: bool = strawberry.field(description="Whether all passes are evaluated under the current version.")


@strawberry.type
class Segment(Node):
    """Group of the passes that satisfy its criteria.

    Passes enter and leave at the exact instant at which the result changes.
    """

    key: str = strawberry.field(
        description="Key of the segment, unique among the segments that are not archived. It is permanent, but another "
        "segment may take the key of an archived one."
    )
    name: str = strawberry.field(description="Name of the segment for people.")
    description: str | None = strawberry.field(description="Purpose of the segment. Null if none was given.")
    criteria: SegmentCriteria = strawberry.field(description="Criteria that decide which passes belong to the segment.")
    version: int = strawberry.field(
        description="Version of criteria and time zone, from 1. Archiving makes a version too; a new name or "
        "description makes none. `versions` has all of them."
    )
    status: SegmentStatus = strawberry.field(description="State of the segment.")
    visible_to_passes: bool = strawberry.field(
        description="Whether tokens of `createPassToken` see that their pass is in the segment, with its id, key and name."
    )
    zone_field: str | None = strawberry.field(
        description="Field of a pass that names its own time zone. Null without one."
    )
    created_at: datetime = strawberry.field(description="Instant at which the segment was created.")
    updated_at: datetime = strawberry.field(description="Instant of the last change of the segment.")
    stored: strawberry.Private[domain.Segment]

    @strawberry.field
    async def timezone(self, info: Info) -> str:
        """IANA time zone of the segment: its own, or that of the workspace. Criteria on local time use it."""
        return await zone_of(info.context.commands, self.stored)

    @strawberry.field
    async def member_count(self, info: Info) -> int:
        """Number of passes in the segment now. Needs the scope `read`."""
        info.context.actor.require(READ)
        return await _count_members(info, self.stored.id)

    @strawberry.field
    async def members(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        at: AtArgument = None,
    ) -> MembershipConnection:
        """Passes in the segment now, or at an instant, in the order of their ids. Needs the scope `read`."""
        info.context.actor.require(READ)
        segment_id = self.stored.id
        if at is not None:
            return await members_at(info, segment_id, at, first, after, last, before)
        span = members_listing.span(first, after, last, before)
        freshness = await selected_freshness(info)
        page: Page[passes.Pass] = await info.context.workspace.segments.members(segment_id, span)
        for card in page.items:
            info.context.load.passes.prime(card.id, card)
        connection = members_listing.connection(
            page,
            span,
            lambda card: membership_of(card, card.memberships[segment_id]),
            lambda: _count_members(info, segment_id),
        )
        return with_progress(info, connection, freshness)

    @strawberry.field
    async def size_over_time(
        self,
        info: Info,
        from_at: Annotated[
            RawDateTime, strawberry.argument(name="from", description="Instant in the first period to return.")
        ],
        to_at: Annotated[
            RawDateTime, strawberry.argument(name="to", description="Instant before which the last period begins.")
        ],
        unit: Annotated[PeriodUnit, strawberry.argument(description="Length of a period.")] = PeriodUnit.DAY,
    ) -> list[SegmentSize]:
        """Size of the segment in each period that has begun, at most 400 periods. Needs the scope `read`.

        Days begin at midnight in UTC, whatever the time zone of the workspace is. Entries and exits count in the UTC day of
        their own instants, silent ones included. Weeks begin on the `weekStart` of the workspace. For the members at local
        midnight, use `members(at:)`.
        """
        info.context.actor.require(READ)
        return await sizes_over_time(info, self.stored.id, from_at, to_at, unit)

    @strawberry.field
    async def versions(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[SegmentVersion]:
        """Versions of the segment, newest first: up to 1,000 of those that were replaced. Needs the scope `read`.

        Versions that were replaced before Punchcard 0.2.0 are missing.
        """
        info.context.actor.require(READ)
        span = versions_listing.span(first, after, last, before)
        store, segment_id, newest = info.context.workspace.segments, self.stored.id, self.stored.version

        async def count() -> int:
            return newest - await store.first_version(segment_id) + 1

        return versions_listing.connection(await store.versions(segment_id, span), span, version_of, count)

    @strawberry.field
    async def scheduled_edit(self, info: Info) -> ScheduledSegmentEdit | None:
        """Edit of the segment that is scheduled. Null if none is. Needs the scope `read`."""
        info.context.actor.require(READ)
        edit = await info.context.load.scheduled_edits.load(self.stored.id)
        return None if edit is None else scheduled_edit_of(edit)

    @strawberry.field
    async def backfill(self, info: Info) -> SegmentBackfill:
        """Progress of the evaluation of all passes under the current version."""
        total, evaluated = await info.context.load.evaluated_counts.load(self.stored.revision) or (0, 0)
        return SegmentBackfill(total=total, judged=evaluated, done=evaluated >= total)


listing = Pagination[domain.Segment]("segment", (int, str), lambda segment: (to_ms(segment.created_at), segment.id))
members_listing = Pagination[passes.Pass]("member", (str,), lambda card: (card.id,))


versions_listing = Pagination[domain.SegmentVersion]("segment_version", (int,), lambda each: (each.version.revision,))


async def _count_members(info: Info, segment_id: str) -> int:
    return await info.context.load.member_counts.load(segment_id) or 0


def segment_of(segment: domain.Segment) -> Segment:
    """Return the GraphQL object of a segment."""
    return Segment(
        id=strawberry.ID(to_global_id("Segment", segment.id)),
        key=segment.key,
        name=segment.name,
        description=segment.description,
        criteria=criteria_of(segment.criteria),
        version=segment.version,
        status=SegmentStatus(segment.status),
        visible_to_passes=segment.visible_to_passes,
        zone_field=segment.zone_field,
        created_at=segment.created_at,
        updated_at=segment.updated_at,
        stored=segment,
    )


@fetcher("Segment")
async def fetch_segment(context: RequestContext, segment_id: str) -> Segment | None:
    """Return the segment with this database id, or None."""
    segment = await context.load.segments.load(segment_id)
    return None if segment is None else segment_of(segment)


async def find_segment(
    info: Info,
    id: Annotated[strawberry.ID | None, strawberry.argument(description="Id of the segment.")] = None,
    key: Annotated[str | None, strawberry.argument(description="Key of the segment.")] = None,
    consistency: ConsistencyArgument = Consistency.EVENTUAL,
    token: TokenArgument = None,
) -> Segment | None:
    """Return the segment with this id or key.

    Give exactly one of them. Null if no segment matches. Needs the scope `read`.
    """
    by_key = info.context.workspace.segments.by_key
    segment_id = await find_named_id(info, "Segment", id, key, by_key=by_key, consistency=consistency, token=token)
    return None if segment_id is None else await fetch_segment(info.context, segment_id)


async def list_segments(
    info: Info,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
    consistency: ConsistencyArgument = Consistency.EVENTUAL,
    token: TokenArgument = None,
) -> Connection[Segment]:
    """List the segments of the workspace, newest first, archived ones included. Needs the scope `read`."""
    return await list_objects(
        info,
        listing,
        listing.span(first, after, last, before),
        store=info.context.workspace.segments,
        loader=info.context.load.segments,
        object_of=segment_of,
        consistency=consistency,
        token=token,
    )
