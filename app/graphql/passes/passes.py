"""Passes: the type, and the queries that find and list passes."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from typing import Annotated

import strawberry

from app.domain.actors import READ
from app.domain.passes import passes as domain
from app.domain.passes.gifts import gift_balance
from app.domain.values.text import parse_external_id
from app.graphql.activities import activities, orders
from app.graphql.activities.activities import Activity, activities_page
from app.graphql.context import Info, RequestContext
from app.graphql.events import events as event_events
from app.graphql.events.events import Event, EventOrder, OrderArgument, events_page
from app.graphql.rewards.redemptions import PassReward, Redemption, redemptions_page, rewards_for
from app.graphql.segments.history import MembershipConnection, MembershipInterval, membership_history, with_progress
from app.graphql.segments.memberships import membership_of
from app.graphql.tiers.status import PassTier, find_pass_tier
from app.graphql.types.consistency import Consistency, ConsistencyArgument, TokenArgument, await_consistency
from app.graphql.types.filters import include_merged_passes, parse_activity_filter, parse_event_filter
from app.graphql.types.ids import database_id, require_one, to_global_id
from app.graphql.types.node import Node, fetcher
from app.graphql.types.own_objects import find_own, own_activities, own_events, visible_segments
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.graphql.types.read_scope import NEEDS_READ
from app.graphql.types.scalars import JSON, RawDateTime

from .consents import Consent, consents_of
from .field_problems import FieldProblem, field_problems_of
from .kinds import PassKind, PassStatus
from .points import FirstExpiries, PassPoints, PointsExpiring, find_points_expiring
from .statistics import PassStatistics, TimeWindow, build_pass_statistics


@strawberry.type
class PassHolder:
    """Person who holds a pass.

    Needs the scope `read`. A mutation also shows the values that it sent itself.
    """

    name: str | None = strawberry.field(description="Name of the person. Null if unknown.", metadata=NEEDS_READ)
    email: str | None = strawberry.field(
        description="E-mail address of the person. Null if unknown.", metadata=NEEDS_READ
    )
    phone: str | None = strawberry.field(
        description="Telephone number of the person. Null if unknown.", metadata=NEEDS_READ
    )
    sent: strawberry.Private[Collection[str]] = ()


@strawberry.type
class Pass(Node):
    """Loyalty card, membership or ticket of one customer."""

    external_id: str = strawberry.field(description="Id of the pass in your system; unique in the workspace.")
    holder: PassHolder = strawberry.field(description="Person who holds the pass.")
    fields: JSON = strawberry.field(
        description="Fields of the pass as a JSON object, with all field changes and updates that are counted. Needs "
        "the scope `read`, except in the answer to the `createPass` or `createPasses` that sent them.",
        metadata=NEEDS_READ,
    )
    metadata: JSON = strawberry.field(
        description="Further details as a JSON object. Needs the scope `read`, except in the answer to the "
        "`createPass` or `createPasses` that sent them.",
        metadata=NEEDS_READ,
    )
    status: PassStatus = strawberry.field(
        description="State of the pass. `updatePass` sets it. An event `pass_installed` makes an INACTIVE pass ACTIVE, and "
        "`pass_uninstalled` an ACTIVE pass INACTIVE. EXPIRED and REVOKED stay."
    )
    points_balance: Decimal = strawberry.field(
        description="Balance of points: the points of all counted events, without expired points. Negative if more "
        "points were spent than earned."
    )
    kind: PassKind = strawberry.field(description="Kind of the pass.")
    currency: str | None = strawberry.field(description="Currency of a gift card. Null for every other pass.")
    gift_balance: Decimal | None = strawberry.field(
        description="Money on a gift card: what was added less what was spent. Null for every other pass."
    )
    tier: str | None = strawberry.field(
        description="Key of the tier of the pass. Null if it has none. See `setTierProgram`."
    )
    installed_at: datetime | None = strawberry.field(
        description="Instant at which the customer installed the pass, as sent in `createPass`; else the earliest "
        "`occurredAt` of its events of the type `pass_installed`. Null without both."
    )
    created_at: datetime = strawberry.field(description="Instant at which the pass was created.")
    updated_at: datetime = strawberry.field(
        description="Instant of the last change of holder, fields, metadata or status."
    )
    stored: strawberry.Private[domain.Pass]
    sent: strawberry.Private[Collection[str]] = ()

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
        """Events on the pass, by the time they occurred. Needs the scope `read`."""
        info.context.actor.require(READ)
        query = own_events(info.context, await parse_event_filter(info, filter, self.stored.id))
        return await events_page(info, query, order_by, first, after, last, before)

    @strawberry.field
    async def activity(
        self,
        info: Info,
        filter: activities.FilterArgument = None,
        order_by: orders.OrderArgument = orders.ActivityOrder.OLDEST_FIRST,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        consistency: ConsistencyArgument = Consistency.EVENTUAL,
        token: TokenArgument = None,
    ) -> Connection[Activity]:
        """Activities of the pass and of the passes merged into it, in the order of the feed, or newest first.

        Needs the scope `read`.
        """
        info.context.actor.require(READ)
        await await_consistency(info, consistency, token, until_published=True)
        query = parse_activity_filter(filter, historical=True, pass_id=self.stored.id)
        query = await own_activities(info.context, await include_merged_passes(info.context, query, self.stored))
        return await activities_page(info, query, order_by, first, after, last, before)

    @strawberry.field
    async def statistics(
        self,
        info: Info,
        types: Annotated[
            list[str] | None, strawberry.argument(description="Event types to include, at most 50. Default: all.")
        ] = None,
        time_window: Annotated[
            TimeWindow | None,
            strawberry.argument(
                description="Time to include. Default: all time. Do not combine it with `from` and `to`."
            ),
        ] = None,
        timezone: Annotated[
            str | None,
            strawberry.argument(
                description='IANA time zone of calendar periods, for example "Europe/Berlin". Default: the time zone of the '
                "workspace."
            ),
        ] = None,
        from_at: Annotated[
            RawDateTime | None,
            strawberry.argument(
                name="from", description="Events that occurred at this instant or later. Default: no lower bound."
            ),
        ] = None,
        to_at: Annotated[
            RawDateTime | None,
            strawberry.argument(
                name="to", description="Events that occurred before this instant. Default: no upper bound."
            ),
        ] = None,
    ) -> PassStatistics:
        """Statistics over the events of the pass, of all time or of any period. Needs the scope `read`.

        Without a time, the statistics are those that Punchcard keeps for the pass, so they lack events that are not
        counted yet. With `timeWindow`, or with `from` or `to`, Punchcard reads the events of that time.
        """
        info.context.actor.require(READ)
        return await build_pass_statistics(
            info, self.stored, types, time_window, timezone, from_at=from_at, to_at=to_at
        )

    @strawberry.field
    def field_problems(self, info: Info) -> list[FieldProblem]:
        """Fields that an event could not change, because of a text where a number is needed, or of their size.

        A problem ends when a later event changes the field. Needs the scope `read`.
        """
        info.context.actor.require(READ)
        return field_problems_of(self.stored.profile)

    @strawberry.field
    def consents(self, info: Info) -> list[Consent]:
        """Consents that the customer ever gave or took back, by key. Needs the scope `read`."""
        info.context.actor.require(READ)
        return consents_of(self.stored.profile.consents)

    @strawberry.field
    async def tier_status(self, info: Info) -> PassTier | None:
        """Tier of the pass, and its progress towards the next one. Needs the scope `read`.

        Null if the workspace has no tier program.
        """
        info.context.actor.require(READ)
        return await find_pass_tier(info.context, self.stored)

    @strawberry.field
    def points(self, info: Info) -> PassPoints:
        """Points of the pass: balance, pending points and totals. The totals read all its events. Needs the scope `read`."""
        info.context.actor.require(READ)
        return PassPoints(card=self.stored)

    @strawberry.field
    async def rewards(self, info: Info) -> list[PassReward]:
        """Rewards that are not archived, newest first: whether the pass can redeem one unit now, and if not, why.

        Workers decide a redemption when it is counted, with what holds then. Needs the scope `read`.
        """
        info.context.actor.require(READ)
        return await rewards_for(info, self.stored)

    @strawberry.field
    async def redemptions(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[Redemption]:
        """Redemptions of rewards by the pass, newest first, also those that failed. Needs the scope `read`."""
        info.context.actor.require(READ)
        return await redemptions_page(info, self.stored, first, after, last, before)

    @strawberry.field
    async def points_expiring(self, info: Info, first: FirstExpiries = 10) -> list[PointsExpiring]:
        """Next expiries of points on the pass, soonest first: one item for each instant. Needs the scope `read`."""
        info.context.actor.require(READ)
        return await find_points_expiring(info.context, self.stored, first)

    @strawberry.field
    async def memberships(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> MembershipConnection:
        """Segments that the pass is in now, in the order in which it entered them. Needs the scope `read`."""
        info.context.actor.require(READ)
        span = memberships_listing.span(first, after, last, before)
        memberships = sorted(self.stored.memberships.values(), key=lambda m: (m.since_ms, m.segment_id))
        if info.context.actor.grant is not None:
            visible = await visible_segments(info.context, self.stored.memberships.keys())
            memberships = [each for each in memberships if each.segment_id in visible]

        async def count() -> int:
            return len(memberships)

        page = memberships_listing.paged(memberships, span)
        connection = memberships_listing.connection(page, span, lambda m: membership_of(self.stored, m), count)
        return with_progress(info, connection)

    @strawberry.field
    async def membership_history(
        self,
        info: Info,
        segment_id: Annotated[
            strawberry.ID | None, strawberry.argument(description="Id of the segment. Default: all segments.")
        ] = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[MembershipInterval]:
        """Stays of the pass in segments, the newest first, also those that have ended. Needs the scope `read`."""
        info.context.actor.require(READ)
        named = None if segment_id is None else database_id(segment_id, "Segment") or segment_id
        return await membership_history(info, self.stored.id, named, first, after, last, before)


memberships_listing = Pagination[domain.Membership]("membership", (int, str), lambda m: (m.since_ms, m.segment_id))


PROFILE = ("fields", "metadata")
HOLDER = ("name", "email", "phone")


def pass_of(card: domain.Pass, *, sent: Collection[str] = ()) -> Pass:
    """Return the GraphQL object of a pass.

    `sent` names the parts of `PROFILE` and `HOLDER` that the call itself sent: they do not need the scope `read`.
    """
    profile, currency = card.profile, card.gift_currency
    return Pass(
        id=strawberry.ID(to_global_id("Pass", card.id)),
        external_id=card.external_id,
        holder=PassHolder(
            name=profile.holder.get("name"),
            email=profile.holder.get("email"),
            phone=profile.holder.get("phone"),
            sent=sent,
        ),
        fields=JSON(profile.fields),
        metadata=JSON(profile.metadata),
        status=PassStatus(profile.status),
        points_balance=card.points,
        kind=PassKind(card.kind),
        currency=currency,
        gift_balance=None if currency is None else gift_balance(currency, card.aggregates, card.made_aggregates),
        tier=card.tier_key,
        installed_at=card.installed_at,
        created_at=card.created_at,
        updated_at=card.updated_at,
        stored=card,
        sent=sent,
    )


@fetcher("Pass")
async def fetch_pass(context: RequestContext, pass_id: str) -> Pass | None:
    """Return the pass with this database id, or None. A merged pass is replaced by its survivor."""
    card = await context.load.passes.load(pass_id)
    return None if card is None else pass_of(card)


async def find_pass(
    info: Info,
    id: Annotated[strawberry.ID | None, strawberry.argument(description="Id of the pass.")] = None,
    external_id: Annotated[str | None, strawberry.argument(description="External id of the pass.")] = None,
    consistency: ConsistencyArgument = Consistency.EVENTUAL,
    token: TokenArgument = None,
) -> Pass | None:
    """Return the pass with this id or external id.

    Give exactly one of them. The id of a pass that was merged into another returns that other pass. Null if no pass
    matches. Needs the scope `read`. With a token for one pass, leave both out: the answer is its pass.
    """
    grant = info.context.actor.grant
    if grant is not None and id is None and external_id is None:
        return await fetch_pass(info.context, grant.pass_id)
    require_one("pass", "externalId", id, external_id)
    await await_consistency(info, consistency, token)
    if id is not None:
        pass_id = database_id(id, "Pass")
        own: Pass | None = await find_own(info.context, pass_id and await fetch_pass(info.context, pass_id))
        return own
    name, store = parse_external_id(external_id, "externalId"), info.context.workspace.passes
    card = await info.context.read_once(info, ("pass", name), lambda: store.by_external_id(name))
    found: Pass | None = await find_own(info.context, None if card is None else pass_of(card))
    return found
