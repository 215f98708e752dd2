"""Webhook endpoints: the type and the list. All of it needs the scope `admin`."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.domain.activities import ActivityQuery
from app.domain.actors import ADMIN
from app.domain.values.cursors import activity_cursor
from app.domain.values.instants import from_ms, to_ms
from app.domain.webhooks import endpoints as domain
from app.domain.webhooks.deliveries import DeliveryQuery
from app.domain.webhooks.endpoints import DisabledReason, EndpointStatus
from app.graphql.context import Info, RequestContext
from app.graphql.types.enums import ActivityCategory, describe_enum
from app.graphql.types.ids import database_id, to_global_id
from app.graphql.types.node import Node, fetch_node, fetcher
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.graphql.types.scalars import BigInt

from .deliveries import WebhookDelivery, WebhookDeliveryStatus, deliveries_page

if TYPE_CHECKING:
    from app.graphql.passes.passes import Pass
    from app.graphql.segments.segments import Segment

WebhookEndpointStatus = EndpointStatus
describe_enum(
    WebhookEndpointStatus,
    "WebhookEndpointStatus",
    {
        "ENABLED": "It is told of what its filter shows.",
        "DISABLED": "It is told of nothing, and keeps its place in the feed: enabled again, it goes on where it stood.",
    },
)
WebhookDisabledReason = DisabledReason
describe_enum(
    WebhookDisabledReason,
    "WebhookDisabledReason",
    {
        "MANUAL": "Somebody disabled it.",
        "GONE": "It answered 410: it wants no message ever again.",
        "FAILING": "It took nothing for more than three days.",
    },
)


@strawberry.type
class WebhookFilter:
    """Which activities an endpoint is told of. Every part has to hold; an empty part means any."""

    types: list[str] = strawberry.field(description="Of one of these types.")
    category: ActivityCategory | None = strawberry.field(description="Of this category.")
    occurred_after: datetime | None = strawberry.field(description="Occurred then or later.")
    occurred_before: datetime | None = strawberry.field(description="Occurred earlier.")
    include_silent: bool = strawberry.field(description="Also what a silent change of a segment caused.")
    include_historical: bool = strawberry.field(description="Also imported history.")
    pass_id: strawberry.Private[str | None]
    segment_ids: strawberry.Private[tuple[str, ...]]

    @strawberry.field(
        name="pass",
    )
    async def card(self, info: Info) -> Annotated[Pass, strawberry.lazy("app.graphql.passes.passes")] | None:
        """Of this pass; null for any, and once it is erased."""
        return None if self.pass_id is None else await fetch_node(info.context, "Pass", self.pass_id)

    @strawberry.field
    async def segments(self, info: Info) -> list[Annotated[Segment, strawberry.lazy("app.graphql.segments.segments")]]:
        """Entries and exits of one of these segments."""
        found = await asyncio.gather(*(fetch_node(info.context, "Segment", each) for each in self.segment_ids))
        return [segment for segment in found if segment is not None]


@strawberry.type
class WebhookEndpoint(Node):
    """An address that is told of activities, by Standard Webhooks: each at least once, with the same `webhook-id` at
    every try, and those of a pass in order while nothing fails.
    """

    url: str = strawberry.field(description="Where messages are sent.")
    description: str | None = strawberry.field(description="What it is for.")
    filter: WebhookFilter = strawberry.field(description="Which activities it is told of.")
    status: WebhookEndpointStatus = strawberry.field(description="Whether it is told of anything.")
    reason: WebhookDisabledReason | None = strawberry.field(description="Why it is DISABLED; null while it is not.")
    created_at: datetime = strawberry.field(description="When it was made, by the machine's clock.")
    updated_at: datetime = strawberry.field(description="When it was last changed, by the machine's clock.")
    endpoint_id: strawberry.Private[str]
    begin_position: strawberry.Private[int]

    @strawberry.field
    async def cursor(self, info: Info) -> str:
        """How far it is in the feed: what it is shown up to here was delivered, or set aside as a delivery.

        Read on from it by any other door.
        """
        return activity_cursor(await self._pos(info))

    @strawberry.field
    async def behind(self, info: Info) -> BigInt:
        """How many activities of the feed lie behind `cursor`, those it is not shown too."""
        pos = await self._pos(info)
        return BigInt((await info.context.load.points_ends.load(pos) or pos) - pos)

    @strawberry.field
    async def away_since(self, info: Info) -> datetime | None:
        """Since when it takes nothing: only single messages are tried, less and less often, and all others wait.

        Null while it is well.
        """
        state = await info.context.load.partitions.load(self.endpoint_id)
        return None if state is None or state.circuit_opened_ms is None else from_ms(state.circuit_opened_ms)

    @strawberry.field
    async def pending_count(self, info: Info) -> int:
        """How many deliveries are PENDING."""
        return await self._count(info, WebhookDeliveryStatus.PENDING)

    @strawberry.field
    async def failed_count(self, info: Info) -> int:
        """How many deliveries have FAILED in the last 30 days, and were not replayed since."""
        return await self._count(info, WebhookDeliveryStatus.FAILED)

    @strawberry.field
    async def deliveries(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[WebhookDelivery]:
        """What became of its messages, the newest first."""
        return await deliveries_page(info, DeliveryQuery(self.endpoint_id), first, after, last, before)

    async def _pos(self, info: Info) -> int:
        state = await info.context.load.partitions.load(self.endpoint_id)
        return self.begin_position if state is None else state.position

    async def _count(self, info: Info, status: WebhookDeliveryStatus) -> int:
        counts = await info.context.load.webhook_counts.load(self.endpoint_id)
        return 0 if counts is None else counts.get(status, 0)


def endpoint_of(endpoint: domain.WebhookEndpoint) -> WebhookEndpoint:
    """The endpoint as it is published."""
    return WebhookEndpoint(
        id=strawberry.ID(to_global_id("WebhookEndpoint", endpoint.id)),
        url=endpoint.url,
        description=endpoint.description,
        filter=_filter(endpoint.filter),
        status=endpoint.status,
        reason=endpoint.reason,
        created_at=endpoint.created_at,
        updated_at=endpoint.updated_at,
        endpoint_id=endpoint.id,
        begin_position=endpoint.begin_position,
    )


def _filter(query: ActivityQuery) -> WebhookFilter:
    return WebhookFilter(
        types=list(query.types),
        category=None if query.category is None else ActivityCategory(query.category),
        occurred_after=query.occurred_after,
        occurred_before=query.occurred_before,
        include_silent=query.include_silent,
        include_historical=query.include_historical,
        pass_id=query.pass_id,
        segment_ids=tuple(query.segment_ids),
    )


@fetcher("WebhookEndpoint")
async def fetch_endpoint(context: RequestContext, endpoint_id: str) -> WebhookEndpoint | None:
    """The endpoint of a database id, or None. Raises Denied without the scope `admin`."""
    context.actor.require(ADMIN)
    found = await context.load.webhooks.load(endpoint_id)
    return None if found is None else endpoint_of(found)


async def find_endpoint(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The id of the endpoint.")]
) -> WebhookEndpoint | None:
    """The webhook endpoint of an id. Needs the scope `admin`."""
    info.context.actor.require(ADMIN)
    named = database_id(id, "WebhookEndpoint")
    return None if named is None else await fetch_endpoint(info.context, named)


listing = Pagination[domain.WebhookEndpoint](
    "webhookEndpoint", (int, str), lambda endpoint: (to_ms(endpoint.created_at), endpoint.id)
)


async def list_endpoints(
    info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[WebhookEndpoint]:
    """The webhook endpoints, the newest first. Needs the scope `admin`."""
    info.context.actor.require(ADMIN)
    span = listing.span(first, after, last, before)
    store = info.context.workspace.webhooks
    return listing.connection(await store.page(span), span, endpoint_of, store.count)
