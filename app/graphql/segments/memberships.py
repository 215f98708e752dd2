"""Memberships: that a pass is in a segment now, since when, and why."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.domain.passes import passes as domain
from app.domain.values.instants import from_ms
from app.graphql.activities.causes import ActivityCause, cause_of
from app.graphql.context import Info, RequestContext
from app.graphql.types.ids import to_global_id
from app.graphql.types.node import Node, fetch_node, fetcher

if TYPE_CHECKING:
    from app.graphql.passes.passes import Pass

    from .segments import Segment


@strawberry.type
class Membership(Node):
    """That a pass is in a segment now."""

    since: datetime = strawberry.field(description="The exact instant it entered.")
    cause: ActivityCause | None = strawberry.field(description="Why it entered.")
    pass_id: strawberry.Private[str]
    segment_id: strawberry.Private[str]

    @strawberry.field(
        name="pass",
    )
    async def card(self, info: Info) -> Annotated[Pass, strawberry.lazy("app.graphql.passes.passes")]:
        """The pass."""
        return await fetch_node(info.context, "Pass", self.pass_id)  # type: ignore[no-any-return]

    @strawberry.field
    async def segment(self, info: Info) -> Annotated[Segment, strawberry.lazy("app.graphql.segments.segments")]:
        """The segment."""
        return await fetch_node(info.context, "Segment", self.segment_id)  # type: ignore[no-any-return]


def membership_of(card: domain.Pass, membership: domain.Membership) -> Membership:
    """The membership as it is published."""
    return Membership(
        id=strawberry.ID(to_global_id("Membership", f"{card.id}.{membership.segment_id}")),
        since=from_ms(membership.since_ms),
        cause=cause_of(membership.cause),
        pass_id=card.id,
        segment_id=membership.segment_id,
    )


@fetcher("Membership")
async def fetch_membership(context: RequestContext, membership_id: str) -> Membership | None:
    """The current membership of "pass id.segment id", or None."""
    pass_id, _, segment_id = membership_id.partition(".")
    card = await context.load.passes.load(pass_id)
    found = None if card is None else card.memberships.get(segment_id)
    return None if card is None or found is None else membership_of(card, found)
