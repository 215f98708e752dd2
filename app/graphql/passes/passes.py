"""Passes: the type and the queries over it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

import strawberry

from app.domain.actors import READ
from app.domain.errors import Code, InvalidInput
from app.domain.passes import passes as domain
from app.domain.values.instants import to_ms
from app.domain.values.text import parse_text
from app.graphql.activities import activities
from app.graphql.activities.activities import Activity, activities_page
from app.graphql.context import Info, RequestContext
from app.graphql.events import events as event_events
from app.graphql.events.events import Event, EventOrder, OrderArgument, events_page
from app.graphql.segments.memberships import Membership, membership_of
from app.graphql.types.consistency import Consistency, ConsistencyArgument, TokenArgument, await_consistency
from app.graphql.types.enums import describe_enum
from app.graphql.types.filters import activity_query, event_query, of_whole_pass
from app.graphql.types.ids import database_id, to_global_id
from app.graphql.types.node import Node, fetcher
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.graphql.types.scalars import JSON

from .points import FirstEndings, PointsExpiring, points_expiring
from .statistics import PassStatistics, TimeWindow, pass_statistics


class PassStatus(StrEnum):
    """The state of a pass."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    EXPIRED = "EXPIRED"
    REVOKED = "REVOKED"


describe_enum(
    PassStatus,
    "PassStatus",
    {
        "ACTIVE": "In use.",
        "INACTIVE": "Not in use at present.",
        "EXPIRED": "Its time is over.",
        "REVOKED": "Taken back.",
    },
)


@strawberry.type
class PassHolder:
    """The person who holds a pass, as far as known."""

    name: str | None = strawberry.field(description="The name.")
    email: str | None = strawberry.field(description="The e-mail address.")
    phone: str | None = strawberry.field(description="The telephone number.")


@strawberry.type
class Pass(Node):
    """What a customer holds: a loyalty card, a membership, a ticket."""

    external_id: str = strawberry.field(description="Its id in the caller's system; unique in the workspace.")
    holder: PassHolder = strawberry.field(description="Who holds it.")
    fields: JSON = strawberry.field(description="Its fields, as field changes and updates left them.")
    metadata: JSON = strawberry.field(description="Free details.")
    status: PassStatus = strawberry.field(description="Its state.")
    points_balance: Decimal = strawberry.field(description="The points of its events, less those whose end has come.")
    tier: str | None = strawberry.field(description="Its tier.")
    installed_at: datetime | None = strawberry.field(description="When the customer installed it.")
    created_at: datetime = strawberry.field(description="When it was created.")
    updated_at: datetime = strawberry.field(description="When it was last changed.")
    stored: strawberry.Private[domain.Pass]

    @strawberry.field
    async def events(
        self,
        info: Info,
        filter: event_events.FilterArgument = None,
        order_by: OrderArgument = EventOrder.NEWEST_FIRST,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Event]:
        """What happened on it. Needs the scope `read`."""
        info.context.actor.require(READ)
        query = await event_query(info, filter, self.stored.id)
        return await events_page(info, query, order_by, first, after, last, before)

    @strawberry.field
    async def activity(
        self,
        info: Info,
        filter: activities.FilterArgument = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        consistency: ConsistencyArgument = Consistency.EVENTUAL,
        token: TokenArgument = None,
    ) -> Connection[Activity]:
        """Its part of the feed, in order. Needs the scope `read`."""
        info.context.actor.require(READ)
        await await_consistency(info, consistency, token, told=True)
        query = activity_query(filter, historical=True, pass_id=self.stored.id)
        query = await of_whole_pass(info.context, query, self.stored)
        return await activities_page(info, query, first, after, last, before)

    @strawberry.field
    async def statistics(
        self,
        info: Info,
        types: Annotated[
            list[str] | None, strawberry.argument(description="Events of these types only; all, if omitted.")
        ] = None,
        time_window: Annotated[
            TimeWindow | None, strawberry.argument(description="Events of this time only; all, if omitted.")
        ] = None,
        timezone: Annotated[
            str | None,
            strawberry.argument(description="The IANA zone of calendar periods; the workspace's, if omitted."),
        ] = None,
    ) -> PassStatistics:
        """What its events come to. Needs the scope `read`."""
        info.context.actor.require(READ)
        return await pass_statistics(info, self.stored, types, time_window, timezone)

    @strawberry.field
    async def points_expiring(self, info: Info, first: FirstEndings = 10) -> list[PointsExpiring]:
        """What of the balance ends, and when: one item an instant, the soonest first. Needs the scope `read`."""
        info.context.actor.require(READ)
        return await points_expiring(info.context, self.stored, first)

    @strawberry.field
    def memberships(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[Membership]:
        """The segments it is in now, in the order it entered them. Needs the scope `read`."""
        info.context.actor.require(READ)
        span = memberships_listing.span(first, after, last, before)
        found = sorted(self.stored.memberships.values(), key=lambda m: (m.since_ms, m.segment_id))

        async def count() -> int:
            return len(found)

        page = memberships_listing.paged(found, span)
        return memberships_listing.connection(page, span, lambda m: membership_of(self.stored, m), count)


listing = Pagination[domain.Pass]("pass", (int, str), lambda card: (to_ms(card.created_at), card.id))
memberships_listing = Pagination[domain.Membership]("membership", (int, str), lambda m: (m.since_ms, m.segment_id))


def pass_of(card: domain.Pass) -> Pass:
    """The pass as it is published."""
    profile = card.profile
    return Pass(
        id=strawberry.ID(to_global_id("Pass", card.id)),
        external_id=card.external_id,
        holder=PassHolder(
            name=profile.holder.get("name"), email=profile.holder.get("email"), phone=profile.holder.get("phone")
        ),
        fields=JSON(profile.fields),
        metadata=JSON(profile.metadata),
        status=PassStatus(profile.status),
        points_balance=card.points,
        tier=card.tier,
        installed_at=card.installed_at,
        created_at=card.created_at,
        updated_at=card.updated_at,
        stored=card,
    )


@fetcher("Pass")
async def fetch_pass(context: RequestContext, pass_id: str) -> Pass | None:
    """The pass of a database id, or None."""
    found = await context.load.passes.load(pass_id)
    return None if found is None else pass_of(found)


async def find_pass(
    info: Info,
    id: Annotated[strawberry.ID | None, strawberry.argument(description="The id of the pass.")] = None,
    external_id: Annotated[str | None, strawberry.argument(description="Its external id.")] = None,
    consistency: ConsistencyArgument = Consistency.EVENTUAL,
    token: TokenArgument = None,
) -> Pass | None:
    """The pass of an id or an external id; exactly one is given."""
    if (id is None) == (external_id is None):
        raise InvalidInput(Code.INVALID, "Name the pass by exactly one of id and externalId.", "id")
    await await_consistency(info, consistency, token)
    if id is not None:
        named = database_id(id, "Pass")
        return None if named is None else await fetch_pass(info.context, named)
    found = await info.context.workspace.passes.by_external_id(parse_text(external_id, "externalId"))
    return None if found is None else pass_of(found)


async def list_passes(
    info: Info,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
    consistency: ConsistencyArgument = Consistency.EVENTUAL,
    token: TokenArgument = None,
) -> Connection[Pass]:
    """The passes, the newest first."""
    span = listing.span(first, after, last, before)
    await await_consistency(info, consistency, token)
    store = info.context.workspace.passes
    page = await store.page(span)
    for card in page.items:
        info.context.load.passes.prime(card.id, card)
    return listing.connection(page, span, pass_of, store.count)
