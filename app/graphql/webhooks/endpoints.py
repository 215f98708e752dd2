"""The type WebhookEndpoint, its filter, and the queries that find and list endpoints. All need the scope `admin`."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.clock import system_ms
from app.domain.activity_queries import ActivityQuery
from app.domain.actors import ADMIN
from app.domain.values.instants import from_ms, to_ms
from app.domain.webhooks import endpoints as domain
from app.domain.webhooks.deliveries import DeliveryQuery
from app.domain.webhooks.endpoints import DisabledReason, EndpointStatus
from app.domain.webhooks.partitions import PartitionState
from app.graphql.context import Info, RequestContext
from app.graphql.segments.sequences import MetadataCriteria
from app.graphql.types.enums import ActivityCategory, ActivityCauseKind, ComparisonOperator, describe_enum
from app.graphql.types.ids import database_id, to_global_id
from app.graphql.types.node import Node, fetch_node, fetcher
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.graphql.types.scalars import BigInt, JSONValue

from .blocked import find_blocked
from .deliveries import WebhookAttempt, WebhookDelivery, WebhookDeliveryStatus, attempt_of, deliveries_page

if TYPE_CHECKING:
    from app.graphql.passes.passes import Pass
    from app.graphql.segments.segments import Segment

WebhookEndpointStatus = EndpointStatus
describe_enum(
    WebhookEndpointStatus,
    "WebhookEndpointStatus",
    {
        "ENABLED": "Punchcard sends the activities that the endpoint's filter selects.",
        "DISABLED": "Punchcard sends nothing. The endpoint keeps its cursor and continues there when it is enabled "
        "again.",
    },
)
WebhookDisabledReason = DisabledReason
describe_enum(
    WebhookDisabledReason,
    "WebhookDisabledReason",
    {
        "MANUAL": "A client disabled the endpoint with `updateWebhookEndpoint`.",
        "GONE": "The endpoint answered a message with HTTP status 410.",
        "FAILING": "The endpoint accepted no message for 75 hours and 35 minutes.",
    },
)


@strawberry.type
class WebhookFilter:
    """Filter that selects the activities an endpoint receives. An activity must meet every condition."""

    types: list[str] = strawberry.field(description="Accepted activity types. An empty list accepts every type.")
    category: ActivityCategory | None = strawberry.field(
        description="Accepted activity category; null accepts both categories."
    )
    occurred_after: datetime | None = strawberry.field(
        description="Earliest `occurredAt` of an activity, inclusive; null means no lower bound."
    )
    occurred_before: datetime | None = strawberry.field(
        description="Upper bound of an activity's `occurredAt`, exclusive; null means no upper bound."
    )
    event_types: list[str] = strawberry.field(
        description="Accepted types of the event that an activity carries. An empty list means no condition on it."
    )
    sources: list[str] = strawberry.field(
        description="Accepted sources of the event that an activity carries. An empty list means no condition on it."
    )
    metadata: list[MetadataCriteria] = strawberry.field(
        description="Conditions on the metadata of the event that an activity carries. All of them must hold."
    )
    causes: list[ActivityCauseKind] = strawberry.field(
        description="Accepted kinds of causes. An empty list accepts every activity."
    )
    include_silent: bool = strawberry.field(
        description="Whether the endpoint also receives silent activities: "
        "those that a segment change with `notify: SILENT` caused."
    )
    include_historical: bool = strawberry.field(
        description="Whether the endpoint also receives activities that an import of past events caused."
    )
    pass_id: strawberry.Private[str | None]
    segment_ids: strawberry.Private[tuple[str, ...]]

    @strawberry.field(name="pass")
    async def card(self, info: Info) -> Annotated[Pass, strawberry.lazy("app.graphql.passes.passes")] | None:
        """Pass whose activities the endpoint receives. Null if the filter names no pass, or if the pass was erased."""
        return None if self.pass_id is None else await fetch_node(info.context, "Pass", self.pass_id)

    @strawberry.field
    async def segments(self, info: Info) -> list[Annotated[Segment, strawberry.lazy("app.graphql.segments.segments")]]:
        """Segments whose entries and exits the endpoint receives. An empty list means no condition on segments."""
        segments = await asyncio.gather(*(fetch_node(info.context, "Segment", each) for each in self.segment_ids))
        return [segment for segment in segments if segment is not None]


@strawberry.type
class WebhookEndpoint(Node):
    """URL that receives activities as signed HTTP messages, by the Standard Webhooks specification.

    Punchcard delivers each activity at least once, with the same `webhook-id` at every attempt. Activities of one pass
    arrive in order while no attempt fails. A workspace may have up to 50 endpoints.
    """

    url: str = strawberry.field(description="URL that receives the messages.")
    description: str | None = strawberry.field(
        description="Note on the purpose of the endpoint, written by the client."
    )
    filter: WebhookFilter = strawberry.field(description="Filter that selects the activities to send.")
    status: WebhookEndpointStatus = strawberry.field(description="Whether Punchcard sends messages to the endpoint.")
    reason: WebhookDisabledReason | None = strawberry.field(
        description="Why the endpoint is DISABLED; null while it is ENABLED."
    )
    created_at: datetime = strawberry.field(description="Time of creation, in system time.")
    updated_at: datetime = strawberry.field(
        description="Time at which the endpoint was last changed or disabled, in system time."
    )
    endpoint_id: strawberry.Private[str]
    begin_position: strawberry.Private[int]

    @strawberry.field
    async def cursor(self, info: Info) -> str:
        """Cursor of the feed up to which every selected activity was delivered or has an entry in `deliveries`.

        You can read on from this cursor by query, subscription or export.
        """
        return await info.context.workspace.cursor_at(await self._position(info))

    @strawberry.field
    async def behind(self, info: Info) -> BigInt:
        """Number of activities after `cursor` in the feed, including those that the filter excludes."""
        position = await self._position(info)
        last_position = await info.context.read_once(info, "last position", info.context.workspace.last_position)
        return BigInt(max(0, last_position - position))

    @strawberry.field
    async def away_since(self, info: Info) -> datetime | None:
        """Time since which the circuit of the endpoint is open, in system time; null while it is closed.

        The circuit opens after 10 failures in a row over at least 10 seconds. While it is open, Punchcard sends single
        messages as probes, at intervals from 5 seconds up to 5 minutes. All other messages wait.
        """
        return _instant((await self._state(info)).health.circuit_opened_ms)

    @strawberry.field
    async def consecutive_failures(self, info: Info) -> int:
        """Number of attempts in a row that failed. A message that the endpoint accepts sets it to 0."""
        return (await self._state(info)).health.failures

    @strawberry.field
    async def failing_since(self, info: Info) -> datetime | None:
        """Time of the first of `consecutiveFailures`, in system time; null if there are none."""
        return _instant((await self._state(info)).health.failing_since_ms)

    @strawberry.field
    async def last_attempt(self, info: Info) -> WebhookAttempt | None:
        """Last attempt to send a message of the feed to the endpoint; null before the first one."""
        attempt = (await self._state(info)).last_attempt
        return None if attempt is None else attempt_of(attempt)

    @strawberry.field
    async def next_retry_at(self, info: Info) -> datetime | None:
        """Time of the next attempt at a message that failed, in system time.

        While the circuit is open: the time of the next probe. Null if no failed message waits, or if the endpoint is
        disabled.
        """
        state = await self._state(info)
        times = [] if state.next_retry_ms is None else [from_ms(state.next_retry_ms)]
        if self.status is EndpointStatus.ENABLED and not state.health.circuit_open:
            due_ms = await info.context.workspace.deliveries.next_due_ms(self.endpoint_id, system_ms())
            times += [] if due_ms is None else [from_ms(due_ms)]
        return min(times, default=None)

    @strawberry.field
    async def pending_count(self, info: Info) -> int:
        """Number of deliveries with the status PENDING."""
        blocked = await find_blocked(info.context, DeliveryQuery(self.endpoint_id))
        return len(blocked) + await self._count_deliveries(info, WebhookDeliveryStatus.PENDING)

    @strawberry.field
    async def failed_count(self, info: Info) -> int:
        """Number of deliveries that FAILED in the last 30 days and were not replayed since."""
        return await self._count_deliveries(info, WebhookDeliveryStatus.FAILED)

    @strawberry.field
    async def deliveries(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[WebhookDelivery]:
        """Deliveries to the endpoint that are still stored, newest first."""
        query, since_ms = DeliveryQuery(self.endpoint_id), to_ms(self.created_at)
        return await deliveries_page(info, query, first, after, last, before, since_ms=since_ms)

    async def _position(self, info: Info) -> int:
        return (await self._state(info)).position

    async def _state(self, info: Info) -> PartitionState:
        state = await info.context.load.partitions.load(self.endpoint_id)
        return PartitionState(self.begin_position) if state is None else state

    async def _count_deliveries(self, info: Info, status: WebhookDeliveryStatus) -> int:
        counts = await info.context.load.webhook_counts.load(self.endpoint_id)
        return 0 if counts is None else counts.get(status, 0)


def _instant(ms: int | None) -> datetime | None:
    return None if ms is None else from_ms(ms)


def endpoint_of(endpoint: domain.WebhookEndpoint) -> WebhookEndpoint:
    """Return the GraphQL object of an endpoint."""
    return WebhookEndpoint(
        id=strawberry.ID(to_global_id("WebhookEndpoint", endpoint.id)),
        url=endpoint.url,
        description=endpoint.description,
        filter=_filter_of(endpoint.filter),
        status=endpoint.status,
        reason=endpoint.reason,
        created_at=endpoint.created_at,
        updated_at=endpoint.updated_at,
        endpoint_id=endpoint.id,
        begin_position=endpoint.begin_position,
    )


def _filter_of(query: ActivityQuery) -> WebhookFilter:
    return WebhookFilter(
        types=list(query.types),
        category=None if query.category is None else ActivityCategory(query.category),
        occurred_after=query.occurred_after,
        occurred_before=query.occurred_before,
        event_types=list(query.event_types),
        sources=list(query.sources),
        metadata=[
            MetadataCriteria(
                path=each.path, operator=ComparisonOperator(each.operator), value=JSONValue(each.to_dict()["value"])
            )
            for each in query.metadata
        ],
        causes=[ActivityCauseKind(each) for each in query.causes],
        include_silent=query.include_silent,
        include_historical=query.include_historical,
        pass_id=query.pass_id,
        segment_ids=tuple(query.segment_ids),
    )


@fetcher("WebhookEndpoint")
async def fetch_endpoint(context: RequestContext, endpoint_id: str) -> WebhookEndpoint | None:
    """Return the endpoint with a database id, or None. Raises Denied without the scope `admin`."""
    context.actor.require(ADMIN)
    endpoint = await context.load.webhooks.load(endpoint_id)
    return None if endpoint is None else endpoint_of(endpoint)


async def find_endpoint(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="Id of the endpoint.")]
) -> WebhookEndpoint | None:
    """Find a webhook endpoint by its id; null if it does not exist. Needs the scope `admin`."""
    info.context.actor.require(ADMIN)
    endpoint_id = database_id(id, "WebhookEndpoint")
    return None if endpoint_id is None else await fetch_endpoint(info.context, endpoint_id)


listing = Pagination[domain.WebhookEndpoint](
    "webhookEndpoint", (int, str), lambda endpoint: (to_ms(endpoint.created_at), endpoint.id)
)


async def list_endpoints(
    info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[WebhookEndpoint]:
    """List the webhook endpoints, newest first. Needs the scope `admin`."""
    info.context.actor.require(ADMIN)
    span = listing.span(first, after, last, before)
    store = info.context.workspace.webhooks
    return listing.connection(await store.page(span), span, endpoint_of, store.count)
