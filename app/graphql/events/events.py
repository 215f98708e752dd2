"""Events: the type, and the queries that find and list events."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from app.commands.events.event_types import event_types
from app.domain.actors import READ
from app.domain.errors import Unavailable
from app.domain.events import events as domain
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import POINTS_TRANSFERRED
from app.domain.events.guards import UNDECIDED, Outcome
from app.domain.values.instants import from_ms, to_ms
from app.graphql.context import Info, RequestContext
from app.graphql.types.consistency import Consistency, ConsistencyArgument, TokenArgument, await_consistency
from app.graphql.types.enums import EventCategory, describe_enum
from app.graphql.types.filters import EventFilter, parse_event_filter
from app.graphql.types.ids import database_id, to_global_id
from app.graphql.types.node import Node, fetch_node, fetcher
from app.graphql.types.own_objects import find_own
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.graphql.types.read_scope import NEEDS_READ
from app.graphql.types.scalars import JSON
from app.store.mongo.paging import Page
from app.store.workspace.events import MAX_COUNTED_EVENTS

from .consequences import effects_of, points_earned, read_made
from .origins import EventOrigin, origin_of
from .outcomes import EventOutcome, read_outcome

if TYPE_CHECKING:
    from app.graphql.activities.activities import Activity
    from app.graphql.passes.passes import Pass


class EventOrder(StrEnum):
    """Order of a list of events."""

    NEWEST_FIRST = "NEWEST_FIRST"
    OLDEST_FIRST = "OLDEST_FIRST"


describe_enum(
    EventOrder,
    "EventOrder",
    {
        "NEWEST_FIRST": "By `occurredAt`, newest first.",
        "OLDEST_FIRST": "By `occurredAt`, oldest first.",
    },
)


@strawberry.type
class Event(Node):
    """Something that happened on a pass, for example a purchase. Events never change after they are recorded."""

    category: EventCategory = strawberry.field(description="Category of the event.")
    type: str = strawberry.field(description="Type of the event, for example `purchase` or `check_in`.")
    amount: Decimal | None = strawberry.field(
        description="Money moved, never negative. Amounts of `refund` and `credit` subtract in sums of spend. Null if "
        "the event has no amount. A refund or credit that was recorded without one has none until a worker counts it: see "
        "`outcome`."
    )
    currency: str | None = strawberry.field(
        description="Currency of the amount: a code of ISO 4217. Null if the event has no amount."
    )
    points: Decimal = strawberry.field(description="Points earned; negative if points were spent, 0 if none.")
    points_expire_at: datetime | None = strawberry.field(
        description="Instant at which the points of this event expire. On a correction without points: the new expiry "
        "of the points of the corrected event. Null if they do not expire at an instant."
    )
    points_expire_after_days: int | None = strawberry.field(
        description="Days of 24 hours without activity on the pass after which the points expire. Null if they do not "
        "expire that way."
    )
    field_name: str | None = strawberry.field(
        description="Name of the field that a field change sets. Null for other events."
    )
    old_value: str | None = strawberry.field(
        description="Value of the field before the change, as the client sent it. Needs the scope `read`, except in the "
        "answer to the mutation that sent it.",
        metadata=NEEDS_READ,
    )
    new_value: str | None = strawberry.field(
        description="Value of the field after the change. For an increment or decrement without an amount: the step. "
        "Needs the scope `read`, except in the answer to the mutation that sent it.",
        metadata=NEEDS_READ,
    )
    source: str = strawberry.field(
        description="System that the event came from. With `externalId` it identifies the event."
    )
    external_id: str | None = strawberry.field(
        description="Id of the event in that system; unique within the source. Null if the client sent none."
    )
    metadata: JSON = strawberry.field(
        description="Further details as a JSON object; empty if the client sent none. Needs the scope `read`, except in "
        "the answer to the mutation that sent them.",
        metadata=NEEDS_READ,
    )
    occurred_at: datetime = strawberry.field(
        description="Instant at which the event happened, as the client sent it, or else the instant of the call."
    )
    recorded_at: datetime = strawberry.field(description="Instant at which Punchcard recorded the event.")
    origin: EventOrigin = strawberry.field(
        description="Where the event came from. Needs the scope `read`, except in the answer to the mutation that "
        "recorded the event.",
        metadata=NEEDS_READ,
    )
    definition_version: int | None = strawberry.field(
        description="Version of the event definition that the event was checked against. Null if the workspace had "
        "not defined or changed the type."
    )
    performed_at: datetime | None = strawberry.field(
        description="Instant at which a guarded event happened, as the client sent it in `occurredAt`. Such an event "
        "occurs when it is recorded. Null for other events, and if the client sent none."
    )
    own_label: strawberry.Private[str | None]
    pass_id: strawberry.Private[str]
    corrected_id: strawberry.Private[str | None]
    own_id: strawberry.Private[str]
    family: strawberry.Private[str]
    own_outcome: strawberry.Private[Outcome] = UNDECIDED
    sent: strawberry.Private[Collection[str]] = ()

    @strawberry.field
    async def outcome(self, info: Info) -> EventOutcome:
        """Whether the event counts. A guarded event or a correction may be declined."""
        is_sent = self.type == POINTS_TRANSFERRED and self.points < 0
        return await read_outcome(info, self.own_id, self.own_outcome, is_sent_transfer=is_sent)

    @strawberry.field
    async def label(self, info: Info) -> str:
        """Name of the event for people: its own label, or else the current label of its type, or else the type."""
        return self.own_label or (await event_types(info.context.commands)).label_of(self.type)

    @strawberry.field(
        name="pass",
    )
    async def card(self, info: Info) -> Annotated[Pass, strawberry.lazy("app.graphql.passes.passes")]:
        """Pass of the event. After a merge: the pass that the other pass was merged into."""
        card: Pass | None = await fetch_node(info.context, "Pass", self.pass_id)
        if card is None:
            # The pass is being erased at this moment. A retry of the query does not find the event.
            raise Unavailable("store")
        return card

    @strawberry.field
    async def correction_of(self, info: Info) -> Event | None:
        """Event that this event corrects. Null if it corrects none, or if the corrected event was removed."""
        if self.corrected_id is None:
            return None
        corrected: Event | None = await fetch_node(info.context, "Event", self.corrected_id)
        return corrected

    @strawberry.field
    async def points_earned(self, info: Info) -> Decimal | None:
        """Points that rules gave for this event, less those that they took, after all corrections so far.

        Null if no rule gave or took points for it, and before the event is counted. Needs the scope `read`.
        """
        return points_earned(self.own_id, await self._read_made(info))

    @strawberry.field
    async def effects(self, info: Info) -> list[Event]:
        """Events that rules recorded because of this event, in the order in which they count. Needs the scope `read`."""
        return [event_of(each) for each in effects_of(self.own_id, await self._read_made(info))]

    @strawberry.field
    async def activities(
        self, info: Info
    ) -> list[Annotated[Activity, strawberry.lazy("app.graphql.activities.activities")]]:
        """Activities that this event caused, in the order of the feed, such as entries into segments.

        An activity is listed once it is in the feed. Needs the scope `read`.
        """
        info.context.actor.require(READ)
        found = await info.context.load.caused_activities.load(self.own_id) or []
        for activity in found:
            info.context.load.activities.prime(activity.id, activity)
        return [await fetch_node(info.context, "Activity", activity.id) for activity in found]

    async def _read_made(self, info: Info) -> list[domain.Event]:
        info.context.actor.require(READ)
        return await read_made(info, self.pass_id, self.family)


listing = Pagination[domain.Event]("event", (int, str), lambda event: (event.occurred_ms, event.id))


CONTENT = ("metadata", "old_value", "new_value")


def event_of(event: domain.Event, *, sent: Collection[str] = ()) -> Event:
    """Return the GraphQL object of an event.

    `sent` names the fields that the call itself sent, of `CONTENT` and `origin`: they do not need the scope `read`.
    """
    expiry = event.points_expiry
    return Event(
        id=strawberry.ID(to_global_id("Event", event.id)),
        category=event.category,
        type=event.type,
        amount=event.amount,
        currency=event.currency,
        points=event.points,
        points_expire_at=None if expiry is None or expiry.at_ms is None else from_ms(expiry.at_ms),
        points_expire_after_days=None if expiry is None else expiry.after_days,
        field_name=event.field_name,
        old_value=event.old_value,
        new_value=event.new_value,
        source=event.source,
        external_id=event.external_id,
        metadata=JSON(event.metadata),
        occurred_at=event.occurred_at,
        recorded_at=event.recorded_at,
        origin=origin_of(event),
        definition_version=event.definition_version,
        performed_at=event.performed_at,
        own_label=event.label,
        pass_id=event.pass_id,
        corrected_id=event.correction_of,
        own_id=event.id,
        family=event.family,
        own_outcome=event.outcome,
        sent=sent,
    )


@fetcher("Event")
async def fetch_event(context: RequestContext, event_id: str) -> Event | None:
    """Return the event with this database id, or None."""
    event = await context.load.events.load(event_id)
    return None if event is None else event_of(event)


FilterArgument = Annotated[
    EventFilter | None,
    strawberry.argument(
        description="Selection of the events; default: all. Indexes serve filters by pass, by one type, by "
        "`occurredAt` and by external id. With any other condition, a page examines at most 20,000 events "
        "and `totalCount` at most 1,000,000. Beyond that, the field fails with `BAD_USER_INPUT`, and the "
        "message says how to narrow the filter."
    ),
]
OrderArgument = Annotated[EventOrder, strawberry.argument(description="Order of the list. Default: newest first.")]


async def find_event(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="Id of the event.")]
) -> Event | None:
    """Return the event with this id. Null if it does not exist or was removed. Needs the scope `read`."""
    event_id = database_id(id, "Event")
    found: Event | None = await find_own(info.context, event_id and await fetch_event(info.context, event_id))
    return found


async def list_events(
    info: Info,
    filter: FilterArgument = None,
    order_by: OrderArgument = EventOrder.NEWEST_FIRST,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
    consistency: ConsistencyArgument = Consistency.EVENTUAL,
    token: TokenArgument = None,
) -> Connection[Event]:
    """List the events of the workspace by the time they occurred. Needs the scope `read`."""
    await await_consistency(info, consistency, token, reads_events=True)
    return await events_page(info, await parse_event_filter(info, filter), order_by, first, after, last, before)


async def events_page(
    info: Info,
    query: EventQuery | None,
    order: EventOrder,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> Connection[Event]:
    """Return a page of the events that match a query; an empty page for None.

    Raises InvalidInput for wrong paging arguments, and if the filter would examine too many events.
    """
    span = listing.span(first, after, last, before)
    store = info.context.workspace.events
    if query is None:
        return listing.connection(Page([], False), span, event_of, _count_nothing)
    context, asked, oldest_first = info.context, query, order is EventOrder.OLDEST_FIRST
    text = repr(asked)

    async def read() -> Page[Any]:
        now = await context.commands.now()
        return await store.page(asked, span, oldest_first, to_ms(now))

    async def count() -> int:
        return await context.read_once(info, ("count of events", text), lambda: store.count(asked, MAX_COUNTED_EVENTS))

    page = await context.read_once(info, ("events", text, span, oldest_first), read)
    return listing.connection(page, span, event_of, count)


async def _count_nothing() -> int:
    return 0
