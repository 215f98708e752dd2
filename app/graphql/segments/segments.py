"""Segments: the type, its members, and the queries over it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import strawberry

from app.domain.actors import READ
from app.domain.errors import Code, InvalidInput
from app.domain.passes import passes
from app.domain.segments import segments as domain
from app.domain.values.instants import to_ms
from app.domain.values.text import parse_text
from app.graphql.context import Info, RequestContext
from app.graphql.types.consistency import Consistency, ConsistencyArgument, TokenArgument, await_consistency
from app.graphql.types.enums import describe_enum
from app.graphql.types.ids import database_id, to_global_id
from app.graphql.types.node import Node, fetcher
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.store.mongo.paging import Page

from .criteria import SegmentCriteria, criteria_of
from .memberships import Membership, membership_of


class SegmentStatus(StrEnum):
    """Whether a segment is judged."""

    ACTIVE = "ACTIVE"
    ARCHIVED = "ARCHIVED"


describe_enum(
    SegmentStatus,
    "SegmentStatus",
    {
        "ACTIVE": "Passes enter and leave it.",
        "ARCHIVED": "It has no members and is judged no more.",
    },
)


class SegmentNotification(StrEnum):
    """Whether the entries and exits that a change of a segment causes are told."""

    SILENT = "SILENT"
    EMIT = "EMIT"


describe_enum(
    SegmentNotification,
    "SegmentNotification",
    {
        "SILENT": "They are logged, and hidden unless asked for.",
        "EMIT": "They are told like any other.",
    },
)


@strawberry.type
class SegmentBackfill:
    """How far the passes have been judged under a segment's latest version."""

    total: int = strawberry.field(description="Passes in the workspace.")
    judged: int = strawberry.field(description="Passes judged under the latest version.")
    done: bool = strawberry.field(description="Whether all of them are.")


@strawberry.type
class Segment(Node):
    """A group of passes that Punchcard keeps to its criteria, to the instant."""

    key: str = strawberry.field(description="Its permanent name in the workspace.")
    name: str = strawberry.field(description="Its name for people.")
    description: str | None = strawberry.field(description="What it is for.")
    criteria: SegmentCriteria = strawberry.field(description="Who belongs to it.")
    version: int = strawberry.field(description="The version of its definition, from 1.")
    status: SegmentStatus = strawberry.field(description="Whether it is judged.")
    timezone: str = strawberry.field(description="Its IANA time zone.")
    created_at: datetime = strawberry.field(description="When it was created.")
    updated_at: datetime = strawberry.field(description="When it was last changed.")
    defined: strawberry.Private[domain.Segment]

    @strawberry.field
    async def member_count(self, info: Info) -> int:
        """How many passes are in it now."""
        return await _count_members(info, self.defined.id)

    @strawberry.field
    async def members(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[Membership]:
        """The passes in it now. Needs the scope `read`."""
        info.context.actor.require(READ)
        segment_id = self.defined.id
        span = members_listing.span(first, after, last, before)
        page: Page[passes.Pass] = await info.context.workspace.segments.members(segment_id, span)
        for card in page.items:
            info.context.load.passes.prime(card.id, card)
        return members_listing.connection(
            page,
            span,
            lambda card: membership_of(card, card.memberships[segment_id]),
            lambda: _count_members(info, segment_id),
        )

    @strawberry.field
    async def backfill(self, info: Info) -> SegmentBackfill:
        """How far the passes have been judged under the latest version."""
        total, judged = await info.context.load.evaluated_counts.load(self.defined.revision) or (0, 0)
        return SegmentBackfill(total=total, judged=judged, done=judged >= total)


listing = Pagination[domain.Segment]("segment", (int, str), lambda segment: (to_ms(segment.created_at), segment.id))
members_listing = Pagination[passes.Pass]("member", (str,), lambda card: (card.id,))


async def _count_members(info: Info, segment_id: str) -> int:
    return await info.context.load.member_counts.load(segment_id) or 0


def segment_of(segment: domain.Segment) -> Segment:
    """The segment as it is published."""
    return Segment(
        id=strawberry.ID(to_global_id("Segment", segment.id)),
        key=segment.key,
        name=segment.name,
        description=segment.description,
        criteria=criteria_of(segment.criteria),
        version=segment.version,
        status=SegmentStatus(segment.status),
        timezone=segment.timezone,
        created_at=segment.created_at,
        updated_at=segment.updated_at,
        defined=segment,
    )


@fetcher("Segment")
async def fetch_segment(context: RequestContext, segment_id: str) -> Segment | None:
    """The segment of a database id, or None."""
    found = await context.load.segments.load(segment_id)
    return None if found is None else segment_of(found)


async def find_segment(
    info: Info,
    id: Annotated[strawberry.ID | None, strawberry.argument(description="The id of the segment.")] = None,
    key: Annotated[str | None, strawberry.argument(description="The key of the segment.")] = None,
    consistency: ConsistencyArgument = Consistency.EVENTUAL,
    token: TokenArgument = None,
) -> Segment | None:
    """The segment of an id or a key; exactly one is given."""
    if (id is None) == (key is None):
        raise InvalidInput(Code.INVALID, "Name the segment by exactly one of id and key.", "id")
    await await_consistency(info, consistency, token)
    named = None
    if id is not None:
        named = database_id(id, "Segment")
    elif key is not None:
        labels = await info.context.workspace.segments.by_key(parse_text(key, "key"))
        named = None if labels is None else labels.id
    return None if named is None else await fetch_segment(info.context, named)


async def list_segments(
    info: Info,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
    consistency: ConsistencyArgument = Consistency.EVENTUAL,
    token: TokenArgument = None,
) -> Connection[Segment]:
    """The segments, the newest first, archived ones included."""
    span = listing.span(first, after, last, before)
    await await_consistency(info, consistency, token)
    store = info.context.workspace.segments
    found = await store.page(span)
    for segment in found.items:
        info.context.load.segments.prime(segment.id, segment)
    return listing.connection(found, span, segment_of, store.count)
