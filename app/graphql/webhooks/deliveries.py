"""The type WebhookDelivery and the query that lists deliveries. All need the scope `admin`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.clock import system_ms
from app.domain.activities import split_activity_id
from app.domain.actors import ADMIN
from app.domain.values.cursors import activity_cursor
from app.domain.values.instants import parse_instant, to_ms
from app.domain.values.text import parse_text
from app.domain.webhooks import deliveries as domain
from app.domain.webhooks.deliveries import DeliveryQuery
from app.graphql.activities.activities import Activity
from app.graphql.context import Info, RequestContext
from app.graphql.types.enums import describe_enum
from app.graphql.types.filters import parse_each, parse_if_given
from app.graphql.types.ids import database_id, to_global_id
from app.graphql.types.node import Node, fetch_node, fetcher
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.graphql.types.scalars import RawDateTime

from .blocked import add_blocked, find_blocked

if TYPE_CHECKING:
    from .endpoints import WebhookEndpoint

WebhookDeliveryStatus = domain.WebhookDeliveryStatus
describe_enum(
    WebhookDeliveryStatus,
    "WebhookDeliveryStatus",
    {
        "SUCCEEDED": "The endpoint accepted the message: it answered with a status from 200 to 299.",
        "PENDING": "Punchcard will send the message at `nextAttemptAt`: attempts failed, or a replay queued it. Until "
        "the fourth attempt has failed, later messages of the same pass wait for it; afterwards, they do not.",
        "FAILED": "All 11 attempts failed, over about three days. Punchcard sends the message again only in a replay.",
    },
)


@strawberry.type
class WebhookAttempt:
    """One HTTP request that carried a message to a webhook endpoint."""

    attempted_at: datetime = strawberry.field(description="Time of the request, in system time.")
    status_code: int | None = strawberry.field(
        description="HTTP status of the endpoint's answer; null if the endpoint did not answer."
    )
    error: str | None = strawberry.field(
        description="Explanation of the failure, for people; null if the endpoint accepted the message."
    )
    duration_ms: int = strawberry.field(description="Duration of the request in milliseconds.")


@strawberry.type
class WebhookDelivery(Node):
    """Result of one activity at one webhook endpoint. Punchcard stores no body of a message.

    A delivery appears when the first attempt of its message has succeeded or failed, or when a replay queues it. It is
    removed 30 days after its last change, unless it is PENDING.
    """

    message_id: str = strawberry.field(description="`webhook-id` of the message, the same at every attempt and replay.")
    type: str = strawberry.field(description="Type of the activity.")
    cursor: str = strawberry.field(description="Cursor of the activity in the feed.")
    status: WebhookDeliveryStatus = strawberry.field(description="Current state of the delivery.")
    tries: int = strawberry.field(
        description="Number of attempts, counted anew from each replay. Failed attempts do not count while the circuit "
        "of the endpoint is open."
    )
    attempts: list[WebhookAttempt] = strawberry.field(description="Last ten attempts, the newest last.")
    next_attempt_at: datetime | None = strawberry.field(
        description="Time of the next attempt, in system time; null unless the delivery is PENDING. The attempt is "
        "made later if the circuit of the endpoint is open then, or the endpoint is disabled. It may be null for a "
        "message that later ones wait for, while the endpoint is disabled."
    )
    recorded_at: datetime = strawberry.field(description="Time at which the activity was recorded.")
    created_at: datetime = strawberry.field(
        description="Time at which the delivery was first stored, in system time. While later messages wait for the "
        "message: the time of its first attempt."
    )
    updated_at: datetime = strawberry.field(description="Time of the last change, in system time.")
    endpoint_id: strawberry.Private[str]
    activity_id: strawberry.Private[str]

    @strawberry.field
    async def endpoint(
        self, info: Info
    ) -> Annotated[WebhookEndpoint, strawberry.lazy("app.graphql.webhooks.endpoints")] | None:
        """Endpoint of the delivery; null if it was deleted."""
        return await fetch_node(info.context, "WebhookEndpoint", self.endpoint_id)  # type: ignore[no-any-return]

    @strawberry.field
    async def activity(self, info: Info) -> Activity | None:
        """Activity of the delivery, as the feed shows it now; after an erasure, without personal data."""
        activity: Activity | None = await fetch_node(info.context, "Activity", self.activity_id)
        return activity


@strawberry.input
class WebhookDeliveryFilter:
    """Filter of webhook deliveries. A delivery must meet every given condition; an omitted one allows any value."""

    endpoint_id: strawberry.ID = strawberry.field(
        description="Endpoint whose deliveries to list. An unknown id gives an empty list."
    )
    statuses: list[WebhookDeliveryStatus] | None = strawberry.field(
        default=None, description="Statuses, one of which the delivery must have."
    )
    types: list[str] | None = strawberry.field(
        default=None, description="Up to 50 activity types, one of which the activity must have."
    )
    recorded_after: RawDateTime | None = strawberry.field(
        default=None, description="Earliest `recordedAt` of the activity, inclusive."
    )
    recorded_before: RawDateTime | None = strawberry.field(
        default=None, description="Upper bound of the activity's `recordedAt`, exclusive."
    )


def attempt_of(attempt: domain.Attempt) -> WebhookAttempt:
    """Return the GraphQL object of an attempt."""
    return WebhookAttempt(
        attempted_at=attempt.at, status_code=attempt.status_code, error=attempt.error, duration_ms=attempt.duration_ms
    )


def delivery_of(delivery: domain.WebhookDelivery) -> WebhookDelivery:
    """Return the GraphQL object of a delivery."""
    return WebhookDelivery(
        id=strawberry.ID(to_global_id("WebhookDelivery", delivery.id)),
        message_id=delivery.activity_id,
        type=delivery.type,
        cursor=activity_cursor(delivery.position, split_activity_id(delivery.activity_id)[1]),
        status=delivery.status,
        tries=delivery.attempt_count,
        attempts=[attempt_of(each) for each in delivery.attempts],
        next_attempt_at=delivery.due_at,
        recorded_at=delivery.recorded_at,
        created_at=delivery.created_at,
        updated_at=delivery.updated_at,
        endpoint_id=delivery.endpoint_id,
        activity_id=delivery.activity_id,
    )


@fetcher("WebhookDelivery")
async def fetch_delivery(context: RequestContext, delivery_id: str) -> WebhookDelivery | None:
    """Return the delivery with a database id, or None. Raises Denied without the scope `admin`."""
    context.actor.require(ADMIN)
    delivery = await context.load.webhook_deliveries.load(delivery_id)
    if delivery is None:
        blocked = await find_blocked(context, DeliveryQuery(delivery_id.partition(":")[0]))
        delivery = next((each for each in blocked if each.id == delivery_id), None)
    return None if delivery is None else delivery_of(delivery)


listing = Pagination[domain.WebhookDelivery](
    "webhookDelivery", (int, str), lambda delivery: (to_ms(delivery.created_at), delivery.id)
)


async def list_webhook_deliveries(
    info: Info,
    filter: Annotated[WebhookDeliveryFilter, strawberry.argument(description="Conditions that select the deliveries.")],
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> Connection[WebhookDelivery]:
    """List the stored deliveries to a webhook endpoint, newest first. Needs the scope `admin`."""
    info.context.actor.require(ADMIN)
    query = DeliveryQuery(
        database_id(filter.endpoint_id, "WebhookEndpoint") or "",
        filter.statuses or (),
        parse_each(filter.types, parse_text, "filter", "types"),
        recorded_after=parse_if_given(filter.recorded_after, parse_instant, "filter", "recordedAfter"),
        recorded_before=parse_if_given(filter.recorded_before, parse_instant, "filter", "recordedBefore"),
    )
    return await deliveries_page(info, query, first, after, last, before)


async def deliveries_page(
    info: Info,
    query: DeliveryQuery,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
    *,
    since_ms: int = 0,
) -> Connection[WebhookDelivery]:
    """Return a page of the deliveries that match a query, newest first. The endpoint was created at `since_ms`.

    Raises InvalidInput for wrong paging arguments.
    """
    span = listing.span(first, after, last, before)
    store, blocked = info.context.workspace.deliveries, await find_blocked(info.context, query)
    page = add_blocked(await store.page(query, span, system_ms(), oldest_ms=since_ms), blocked, span)

    async def count() -> int:
        return len(blocked) + await store.count(query)

    return listing.connection(page, span, delivery_of, count)
