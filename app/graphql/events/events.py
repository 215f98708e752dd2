"""Events: the type, and the queries over them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from app.commands.events.event_types import event_types
from app.domain.errors import Unavailable
from app.domain.events import events as domain
from app.domain.events.events import EventQuery
from app.domain.values.instants import from_ms, to_ms
from app.graphql.context import Info, RequestContext
from app.graphql.types.consistency import Consistency, ConsistencyArgument, TokenArgument, await_consistency
from app.graphql.types.enums import EventCategory, describe_enum
from app.graphql.types.filters import EventFilter, event_query
from app.graphql.types.ids import database_id, to_global_id
from app.graphql.types.node import Node, fetch_node, fetcher
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.graphql.types.scalars import JSON
from app.store.mongo.paging import Page
from app.store.workspace.events import MAX_COUNTED_EVENTS

if TYPE_CHECKING:
    from app.graphql.passes.passes import Pass


class EventChannel(StrEnum):
    """By which door an event came."""

    API = "API"
    BATCH = "BATCH"
    IMPORT = "IMPORT"
    WEBHOOK = "WEBHOOK"
    MANUAL = "MANUAL"
    RULE = "RULE"
    INTERNAL = "INTERNAL"


describe_enum(
    EventChannel,
    "EventChannel",
    {
        "API": "By the API.",
        "BATCH": "By a batch of the API.",
        "IMPORT": "From an imported file.",
        "WEBHOOK": "From a foreign system, by an inbound hook.",
        "MANUAL": "By hand, by a member of staff.",
        "RULE": "By a rule of the workspace.",
        "INTERNAL": "Recorded by Punchcard itself.",
    },
)


class EventOrder(StrEnum):
    """The order of a list of events."""

    NEWEST_FIRST = "NEWEST_FIRST"
    OLDEST_FIRST = "OLDEST_FIRST"


describe_enum(
    EventOrder,
    "EventOrder",
    {
        "NEWEST_FIRST": "By occurrence, the newest first.",
        "OLDEST_FIRST": "By occurrence, the oldest first.",
    },
)


@strawberry.type
class EventOrigin:
    """Where an event came from."""

    channel: EventChannel = strawberry.field(description="By which door it came.")
    ip_address: str | None = strawberry.field(description="The caller's IP address.")
    user_agent: str | None = strawberry.field(description="The caller's software, as it named itself.")
    actor: str | None = strawberry.field(description="The id of the acting API key, or of the inbound hook.")
    staff: str | None = strawberry.field(description="The member of staff who acted by hand, as the key says.")


@strawberry.type
class Event(Node):
    """Something that happened on a pass. Events never change."""

    category: EventCategory = strawberry.field(description="The kind of event.")
    type: str = strawberry.field(description="The type, for example `purchase` or `check_in`.")
    amount: Decimal | None = strawberry.field(
        description="The money moved, never negative; refunds and credits subtract from sums of spend."
    )
    currency: str | None = strawberry.field(description="The currency of the amount, ISO 4217.")
    points: Decimal = strawberry.field(description="Points earned, or spent where negative.")
    points_expire_at: datetime | None = strawberry.field(
        description="When these points end; of a correction without points, those of the event that it corrects."
    )
    points_expire_after_days: int | None = strawberry.field(
        description="After how many days (24 h) without activity of the pass they end."
    )
    field_name: str | None = strawberry.field(description="The field that a field change speaks of.")
    old_value: str | None = strawberry.field(description="The field's value before, as the caller knew it.")
    new_value: str | None = strawberry.field(description="The field's value after, or the step of an increment.")
    source: str = strawberry.field(description="The system it came from; part of its identity.")
    external_id: str | None = strawberry.field(description="Its id in that system; unique within the source.")
    metadata: JSON = strawberry.field(description="Free details.")
    occurred_at: datetime = strawberry.field(description="When it happened, as the caller says.")
    recorded_at: datetime = strawberry.field(description="When Punchcard recorded it.")
    origin: EventOrigin = strawberry.field(description="Where it came from.")
    definition_version: int | None = strawberry.field(
        description="The version of its type's definition that it was checked under; null where nothing was defined."
    )
    own_label: strawberry.Private[str | None]
    pass_id: strawberry.Private[str]
    corrected_id: strawberry.Private[str | None]

    @strawberry.field
    async def label(self, info: Info) -> str:
        """What people call it: its own label, else that of its type today."""
        return self.own_label or (await event_types(info.context.commands)).label_of(self.type)

    @strawberry.field(
        name="pass",
    )
    async def card(self, info: Info) -> Annotated[Pass, strawberry.lazy("app.graphql.passes.passes")]:
        """The pass it happened on."""
        found: Pass | None = await fetch_node(info.context, "Pass", self.pass_id)
        if found is None:
            # It is just being erased: asked again, there is no such event.
            raise Unavailable("store")
        return found

    @strawberry.field
    async def correction_of(self, info: Info) -> Event | None:
        """The event that this one corrects."""
        if self.corrected_id is None:
            return None
        found: Event | None = await fetch_node(info.context, "Event", self.corrected_id)
        return found


listing = Pagination[domain.Event]("event", (int, str), lambda event: (event.occurred_ms, event.id))


def event_of(event: domain.Event) -> Event:
    """The event as it is published."""
    origin, end = event.origin, event.points_expiry
    return Event(
        id=strawberry.ID(to_global_id("Event", event.id)),
        category=event.category,
        type=event.type,
        amount=event.amount,
        currency=event.currency,
        points=event.points,
        points_expire_at=None if end is None or end.at_ms is None else from_ms(end.at_ms),
        points_expire_after_days=None if end is None else end.after_days,
        field_name=event.field_name,
        old_value=event.old_value,
        new_value=event.new_value,
        source=event.source,
        external_id=event.external_id,
        metadata=JSON(event.metadata),
        occurred_at=event.occurred_at,
        recorded_at=event.recorded_at,
        origin=EventOrigin(
            channel=EventChannel(origin.channel),
            ip_address=origin.ip_address,
            user_agent=origin.user_agent,
            actor=None if origin.actor is None else to_global_id("ApiKey", origin.actor),
            staff=origin.staff,
        ),
        definition_version=event.definition_version,
        own_label=event.label,
        pass_id=event.pass_id,
        corrected_id=event.correction_of,
    )


@fetcher("Event")
async def fetch_event(context: RequestContext, event_id: str) -> Event | None:
    """The event of a database id, or None."""
    found = await context.load.events.load(event_id)
    return None if found is None else event_of(found)


FilterArgument = Annotated[
    EventFilter | None,
    strawberry.argument(
        description="Which events to list; all, if omitted. A pass, one type, a range of occurrence and an external id are "
        "found by an index. Where more is asked of those, a page looks at about 20,000 of them, and totalCount at a "
        "million: beyond that BAD_USER_INPUT tells how to narrow it down."
    ),
]
OrderArgument = Annotated[EventOrder, strawberry.argument(description="The order of the list.")]


async def find_event(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The id of the event.")]
) -> Event | None:
    """The event of an id."""
    named = database_id(id, "Event")
    return None if named is None else await fetch_event(info.context, named)


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
    """The events, by when they occurred."""
    await await_consistency(info, consistency, token, of_events=True)
    return await events_page(info, await event_query(info, filter), order_by, first, after, last, before)


async def events_page(
    info: Info,
    query: EventQuery | None,
    order: EventOrder,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> Connection[Event]:
    """A page of the events that a query finds; None finds none."""
    span = listing.span(first, after, last, before)
    store = info.context.workspace.events
    if query is None:
        return listing.connection(Page([], False), span, event_of, _none)
    asked, now = query, await info.context.commands.now()
    page: Page[Any] = await store.page(asked, span, order is EventOrder.OLDEST_FIRST, to_ms(now))
    return listing.connection(page, span, event_of, lambda: store.count(asked, MAX_COUNTED_EVENTS))


async def _none() -> int:
    return 0
