"""What inbound hooks received: the type, the list, and running again what failed. All of it needs the scope `admin`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import strawberry

from app.domain.actors import ADMIN
from app.domain.inbound import deliveries as domain
from app.domain.inbound.deliveries import DeliveryStatus
from app.domain.values.instants import to_ms
from app.graphql.context import Info, RequestContext
from app.graphql.types.enums import UserErrorCode, describe_enum
from app.graphql.types.ids import database_id, to_global_id
from app.graphql.types.node import Node, fetch_node, fetcher
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.graphql.types.scalars import JSON

from .hooks import InboundHook

InboundDeliveryStatus = DeliveryStatus
describe_enum(
    InboundDeliveryStatus,
    "InboundDeliveryStatus",
    {
        "PROCESSED": "All of it is recorded, or was left out by the conditions of the mapping; remembered for 7 days.",
        "FAILED": "Some of it could not be recorded; kept with its body for 30 days, to be run again.",
    },
)


@strawberry.type
class InboundProblem:
    """Why an item of a delivery made no event."""

    index: int | None = strawberry.field(
        description="The item's place in the body, from 0; null for the body as a whole."
    )
    code: UserErrorCode = strawberry.field(description="Why it was refused.")
    message: str = strawberry.field(description="What to do about it, for people.")
    field: list[str] = strawberry.field(description="The path of the field of the event, or the part of the mapping.")


@strawberry.type
class InboundDelivery(Node):
    """A message of a sender, however often it was sent."""

    status: InboundDeliveryStatus = strawberry.field(description="What became of it.")
    received_at: datetime = strawberry.field(description="When it first came; its events occur then, unless mapped.")
    attempts: int = strawberry.field(description="How often it was tried, reruns included.")
    events: int = strawberry.field(description="How many of its events are recorded.")
    problems: list[InboundProblem] = strawberry.field(description="What failed at the last attempt; 100 at most.")
    hook_id: strawberry.Private[str]
    delivery_id: strawberry.Private[str]

    @strawberry.field
    async def hook(self, info: Info) -> InboundHook | None:
        """The hook it was sent to."""
        found: InboundHook | None = await fetch_node(info.context, "InboundHook", self.hook_id)
        return found

    @strawberry.field
    async def body(self, info: Info) -> str | None:
        """The body as it was sent; null once it is processed."""
        found = await info.context.load.deliveries.load(self.delivery_id)
        return None if found is None or found.body is None else found.body.decode("utf-8", "replace")

    @strawberry.field
    async def headers(self, info: Info) -> JSON:
        """The headers that a mapping may look at; empty once it is processed."""
        found = await info.context.load.deliveries.load(self.delivery_id)
        return JSON({} if found is None else dict(found.headers))


def delivery_of(delivery: domain.InboundDelivery) -> InboundDelivery:
    """The delivery as it is published."""
    return InboundDelivery(
        id=strawberry.ID(to_global_id("InboundDelivery", delivery.id)),
        status=delivery.status,
        received_at=delivery.received_at,
        attempts=delivery.attempts,
        events=delivery.events,
        problems=[
            InboundProblem(
                index=each.index,
                code=each.problem.code,
                message=each.problem.message,
                field=list(each.problem.field),
            )
            for each in delivery.problems
        ],
        hook_id=delivery.hook_id,
        delivery_id=delivery.id,
    )


@fetcher("InboundDelivery")
async def fetch_delivery(context: RequestContext, delivery_id: str) -> InboundDelivery | None:
    """The delivery of a database id, or None. Raises Denied without the scope `admin`."""
    context.actor.require(ADMIN)
    found = await context.load.deliveries.load(delivery_id)
    return None if found is None else delivery_of(found)


listing = Pagination[domain.InboundDelivery](
    "delivery", (int, str), lambda delivery: (to_ms(delivery.received_at), delivery.id)
)


async def list_deliveries(
    info: Info,
    hook_id: Annotated[strawberry.ID, strawberry.argument(description="The hook they were sent to.")],
    status: Annotated[
        InboundDeliveryStatus, strawberry.argument(description="Those of this status.")
    ] = InboundDeliveryStatus.FAILED,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> Connection[InboundDelivery]:
    """What an inbound hook received: what failed, unless asked otherwise, the newest first. Needs the scope `admin`."""
    info.context.actor.require(ADMIN)
    span = listing.span(first, after, last, before)
    store, named = info.context.workspace.inbound, database_id(hook_id, "InboundHook") or ""

    async def count() -> int:
        return await store.count(named, status)

    return listing.connection(await store.page(named, status, span), span, delivery_of, count)
