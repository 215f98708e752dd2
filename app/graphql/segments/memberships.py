"""Memberships: the type that relates a pass to a segment it is in now."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.commands.held_since import held_since
from app.domain.actors import READ
from app.domain.passes import passes as domain
from app.domain.segments.history import Stay
from app.domain.values.instants import from_ms
from app.graphql.activities.causes import ActivityCause, cause_of
from app.graphql.context import Info, RequestContext
from app.graphql.types.ids import to_global_id
from app.graphql.types.node import Node, fetch_node, fetcher

from .explanations import MembershipExplanation, explain_of_membership

if TYPE_CHECKING:
    from app.graphql.passes.passes import Pass

    from .segments import Segment


@strawberry.type
class Membership(Node):
    """Membership of a pass in a segment, at present or at an instant that was asked for."""

    since: datetime = strawberry.field(description="Exact instant at which the pass entered the segment.")
    cause: ActivityCause | None = strawberry.field(description="Cause of the entry.")
    pass_id: strawberry.Private[str]
    segment_id: strawberry.Private[str]
    left_at: strawberry.Private[datetime | None] = None
    """The instant of the exit, of a membership that has ended."""

    @strawberry.field(
        name="pass",
    )
    async def card(self, info: Info) -> Annotated[Pass, strawberry.lazy("app.graphql.passes.passes")]:
        """Pass that is in the segment."""
        return await fetch_node(info.context, "Pass", self.pass_id)  # type: ignore[no-any-return]

    @strawberry.field
    async def segment(self, info: Info) -> Annotated[Segment, strawberry.lazy("app.graphql.segments.segments")]:
        """Segment that the pass is in."""
        return await fetch_node(info.context, "Segment", self.segment_id)  # type: ignore[no-any-return]

    @strawberry.field
    async def explanation(self, info: Info) -> MembershipExplanation | None:
        """Why the pass is in the segment, and until when. Needs the scope `read`.

        Null if the membership has ended, or if the segment was archived meanwhile.
        """
        if self.left_at is not None:
            return None
        return await explain_of_membership(info, self.pass_id, self.segment_id)

    @strawberry.field
    async def held_since(self, info: Info) -> datetime | None:
        """Instant since when the pass meets the criteria without a break, as if the segment had always existed.

        Each event counts when it occurred, also if it was recorded later. Null if the membership has ended, or if the pass
        has more than 20,000 events. Needs the scope `read`.
        """
        info.context.actor.require(READ)
        if self.left_at is not None:
            return None
        key = ("held since", self.pass_id, self.segment_id)
        return await info.context.read_once(
            info, key, lambda: held_since(info.context.commands, self.pass_id, self.segment_id)
        )

    @strawberry.field
    async def until(self, info: Info) -> datetime | None:
        """Exact instant at which the pass left the segment, or leaves it if nothing happens. Needs the scope `read`.

        Null if that is not found: `explanation` has how far Punchcard looked ahead.
        """
        if self.left_at is not None:
            return self.left_at
        explanation = await explain_of_membership(info, self.pass_id, self.segment_id)
        return None if explanation is None else explanation.until


def membership_of(card: domain.Pass, membership: domain.Membership) -> Membership:
    """Return the GraphQL object of a membership."""
    return Membership(
        id=strawberry.ID(to_global_id("Membership", f"{card.id}.{membership.segment_id}")),
        since=from_ms(membership.since_ms),
        cause=cause_of(membership.cause),
        pass_id=card.id,
        segment_id=membership.segment_id,
    )


def membership_of_stay(stay: Stay) -> Membership:
    """Return the GraphQL object of a membership in the past. One that lasts has the id of the present membership."""
    interval = stay.interval
    ended = "" if interval.ending is None else f".{interval.id}"
    return Membership(
        id=strawberry.ID(to_global_id("Membership", f"{stay.pass_id}.{interval.segment_id}{ended}")),
        since=interval.entered_at,
        cause=cause_of(interval.cause),
        pass_id=stay.pass_id,
        segment_id=interval.segment_id,
        left_at=None if interval.ending is None else interval.ending.at,
    )


@fetcher("Membership")
async def fetch_membership(context: RequestContext, membership_id: str) -> Membership | None:
    """Return the membership with this id, or None.

    The id is "<pass id>.<segment id>" of a present membership, and "<pass id>.<segment id>.<interval id>" of one that ended.
    """
    pass_id, segment_id, interval_id = (*membership_id.split(".", 2), "", "")[:3]
    if interval_id:
        interval = await context.workspace.intervals.get(interval_id)
        is_same = interval is not None and (interval.pass_id, interval.segment_id) == (pass_id, segment_id)
        return membership_of_stay(Stay(pass_id, interval)) if interval is not None and is_same else None
    card = await context.load.passes.load(pass_id)
    membership = None if card is None else card.memberships.get(segment_id)
    return None if card is None or membership is None else membership_of(card, membership)
