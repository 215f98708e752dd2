"""What became of the messages to webhook endpoints: the type and the lists. All of it needs the scope `admin`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.clock import system_ms
from app.domain.actors import ADMIN
from app.domain.values.cursors import activity_cursor
from app.domain.values.instants import parse_instant, to_ms
from app.domain.values.text import parse_text
from app.domain.webhooks import deliveries as domain
from app.domain.webhooks.deliveries import DeliveryQuery
from app.graphql.activities.activities import Activity
from app.graphql.context import Info, RequestContext
from app.graphql.types.enums import describe_enum
from app.graphql.types.filters import each_of, given
from app.graphql.types.ids import database_id, to_global_id
from app.graphql.types.node import Node, fetch_node, fetcher
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.graphql.types.scalars import RawDateTime

if TYPE_CHECKING:
    from .endpoints import WebhookEndpoint

WebhookDeliveryStatus = domain.WebhookDeliveryStatus
describe_enum(
    WebhookDeliveryStatus,
    "WebhookDeliveryStatus",
    {
        "SUCCEEDED": "The endpoint took it: it answered 200 to 299.",
        "PENDING": "It is to be tried, again or once more; `nextAttemptAt` says when. Those after it go on without it.",
        "FAILED": "It failed at the first try and at ten more, in three days. It is not tried again, unless it is replayed.",
    },
)


@strawberry.type
class WebhookAttempt:
    """One try of a message."""

    attempted_at: datetime = strawberry.field(description="When it was made, by the machine's clock.")
    status_code: int | None = strawberry.field(description="What the endpoint answered; null where it did not.")
    error: str | None = strawberry.field(description="Why it failed, for people; null where it did not.")
    duration_ms: int = strawberry.field(description="How many milliseconds it took.")


@strawberry.type
class WebhookDelivery(Node):
    """What became of an activity at a webhook endpoint. It is remembered for 30 days, without what the message said."""

    message_id: str = strawberry.field(description="The `webhook-id` of its message, the same at every try.")
    type: str = strawberry.field(description="The type of the activity.")
    cursor: str = strawberry.field(description="The place of the activity in the feed.")
    status: WebhookDeliveryStatus = strawberry.field(description="What became of it.")
    tries: int = strawberry.field(description="How often it was tried since it was last asked for.")
    attempts: list[WebhookAttempt] = strawberry.field(description="The last ten tries, the newest last.")
    next_attempt_at: datetime | None = strawberry.field(
        description="When it is tried next, unless the endpoint is away or disabled then; null where it is not."
    )
    recorded_at: datetime = strawberry.field(description="When the activity was recorded.")
    created_at: datetime = strawberry.field(description="When it was first noted, by the machine's clock.")
    updated_at: datetime = strawberry.field(description="When it last changed, by the machine's clock.")
    endpoint_id: strawberry.Private[str]
    activity_id: strawberry.Private[str]

    @strawberry.field
    async def endpoint(
        self, info: Info
    ) -> Annotated[WebhookEndpoint, strawberry.lazy("app.graphql.webhooks.endpoints")] | None:
        """The endpoint; null once that is deleted."""
        return await fetch_node(info.context, "WebhookEndpoint", self.endpoint_id)  # type: ignore[no-any-return]

    @strawberry.field
    async def activity(self, info: Info) -> Activity | None:
        """The activity, as the feed has it now."""
        found: Activity | None = await fetch_node(info.context, "Activity", self.activity_id)
        return found


@strawberry.input
class WebhookDeliveryFilter:
    """Which deliveries to list. Every part that is given has to hold."""

    endpoint_id: strawberry.ID = strawberry.field(description="To this endpoint.")
    statuses: list[WebhookDeliveryStatus] | None = strawberry.field(default=None, description="Of one of these.")
    types: list[str] | None = strawberry.field(default=None, description="Of activities of one of these types.")
    recorded_after: RawDateTime | None = strawberry.field(
        default=None, description="Of activities recorded then or later."
    )
    recorded_before: RawDateTime | None = strawberry.field(default=None, description="Of activities recorded earlier.")


def delivery_of(delivery: domain.WebhookDelivery) -> WebhookDelivery:
    """The delivery as it is published."""
    return WebhookDelivery(
        id=strawberry.ID(to_global_id("WebhookDelivery", delivery.id)),
        message_id=delivery.activity_id,
        type=delivery.type,
        cursor=activity_cursor(delivery.position),
        status=delivery.status,
        tries=delivery.attempt_count,
        attempts=[
            WebhookAttempt(
                attempted_at=each.at, status_code=each.status_code, error=each.error, duration_ms=each.duration_ms
            )
            for each in delivery.attempts
        ],
        next_attempt_at=delivery.due_at,
        recorded_at=delivery.recorded_at,
        created_at=delivery.created_at,
        updated_at=delivery.updated_at,
        endpoint_id=delivery.endpoint_id,
        activity_id=delivery.activity_id,
    )


@fetcher("WebhookDelivery")
async def fetch_delivery(context: RequestContext, delivery_id: str) -> WebhookDelivery | None:
    """The delivery of a database id, or None. Raises Denied without the scope `admin`."""
    context.actor.require(ADMIN)
    found = await context.load.webhook_deliveries.load(delivery_id)
    return None if found is None else delivery_of(found)


listing = Pagination[domain.WebhookDelivery](
    "webhookDelivery", (int, str), lambda delivery: (to_ms(delivery.created_at), delivery.id)
)


async def list_webhook_deliveries(
    info: Info,
    filter: Annotated[WebhookDeliveryFilter, strawberry.argument(description="Which deliveries.")],
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> Connection[WebhookDelivery]:
    """What became of the messages to a webhook endpoint in the last 30 days, the newest first.

    Needs the scope `admin`.
    """
    info.context.actor.require(ADMIN)
    here = "filter"
    query = DeliveryQuery(
        database_id(filter.endpoint_id, "WebhookEndpoint") or "",
        filter.statuses or (),
        each_of(filter.types, parse_text, here, "types"),
        recorded_after=given(filter.recorded_after, parse_instant, here, "recordedAfter"),
        recorded_before=given(filter.recorded_before, parse_instant, here, "recordedBefore"),
    )
    return await deliveries_page(info, query, first, after, last, before)


async def deliveries_page(
    info: Info, query: DeliveryQuery, first: int | None, after: str | None, last: int | None, before: str | None
) -> Connection[WebhookDelivery]:
    """A page of the deliveries that a query finds."""
    span = listing.span(first, after, last, before)
    store = info.context.workspace.deliveries
    page = await store.page(query, span, system_ms())
    return listing.connection(page, span, delivery_of, lambda: store.count(query))
