"""The type InboundDelivery and the query that lists deliveries. Both need the scope `admin`."""

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
        "PROCESSED": "Every item was recorded, or left out by a condition of the mapping. The delivery is kept for 7 "
        "days.",
        "FAILED": "At least one item was not recorded. The delivery is kept with its body for 30 days and can be run "
        "again. Punchcard itself runs it again while an event that it corrects is unknown.",
    },
)


@strawberry.type
class InboundProblem:
    """Reason why an item of a message made no event."""

    index: int | None = strawberry.field(
        description="Index of the item, from 0; null if the problem concerns the whole body."
    )
    code: UserErrorCode = strawberry.field(description="Reason as a code, for programs.")
    message: str = strawberry.field(description="Reason and next step, for people.")
    field: list[str] = strawberry.field(
        description="Path of the event field, or of the part of the mapping, that has the problem."
    )


@strawberry.type
class InboundDelivery(Node):
    """Message that an inbound hook received. If the sender repeats a message, all copies share one delivery."""

    status: InboundDeliveryStatus = strawberry.field(description="Result of the last attempt to record the message.")
    received_at: datetime = strawberry.field(
        description="Time at which the message first arrived, on the business clock. It is the `occurredAt` of events "
        "for which the mapping gives none."
    )
    attempts: int = strawberry.field(
        description="Number of attempts to record the message, including reruns. A repeat of a PROCESSED message is "
        "not an attempt."
    )
    events: int = strawberry.field(description="Number of the message's events that are recorded.")
    problems: list[InboundProblem] = strawberry.field(description="Problems of the last attempt, up to 100.")
    next_attempt_at: datetime | None = strawberry.field(
        description="Time at which Punchcard runs the message again by itself, because an event to correct may still "
        "arrive. Null for other failures, which need `rerunInboundDelivery`."
    )
    hook_id: strawberry.Private[str]
    delivery_id: strawberry.Private[str]

    @strawberry.field
    async def hook(self, info: Info) -> InboundHook | None:
        """Hook that received the message."""
        hook: InboundHook | None = await fetch_node(info.context, "InboundHook", self.hook_id)
        return hook

    @strawberry.field
    async def body(self, info: Info) -> str | None:
        """Body as it was received, as text; null once the delivery is PROCESSED."""
        delivery = await info.context.load.deliveries.load(self.delivery_id)
        return None if delivery is None or delivery.body is None else delivery.body.decode("utf-8", "replace")

    @strawberry.field
    async def headers(self, info: Info) -> JSON:
        """Stored headers by name, in lower case; empty once the delivery is PROCESSED.

        Up to 40 are stored: `content-type`, and those that begin with `x-` or `webhook-`. Signatures and secrets are
        not.
        """
        delivery = await info.context.load.deliveries.load(self.delivery_id)
        return JSON({} if delivery is None else dict(delivery.headers))


def delivery_of(delivery: domain.InboundDelivery) -> InboundDelivery:
    """Return the GraphQL object of a delivery."""
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
        next_attempt_at=delivery.rerun_at,
        hook_id=delivery.hook_id,
        delivery_id=delivery.id,
    )


@fetcher("InboundDelivery")
async def fetch_delivery(context: RequestContext, delivery_id: str) -> InboundDelivery | None:
    """Return the delivery with a database id, or None. Raises Denied without the scope `admin`."""
    context.actor.require(ADMIN)
    delivery = await context.load.deliveries.load(delivery_id)
    return None if delivery is None else delivery_of(delivery)


listing = Pagination[domain.InboundDelivery](
    "delivery", (int, str), lambda delivery: (to_ms(delivery.received_at), delivery.id)
)


async def list_deliveries(
    info: Info,
    hook_id: Annotated[
        strawberry.ID, strawberry.argument(description="Id of the hook. An unknown id gives an empty list.")
    ],
    status: Annotated[
        InboundDeliveryStatus, strawberry.argument(description="Status of the deliveries to list. Default: FAILED.")
    ] = InboundDeliveryStatus.FAILED,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> Connection[InboundDelivery]:
    """List the deliveries to an inbound hook with one status, newest first. Needs the scope `admin`."""
    info.context.actor.require(ADMIN)
    span = listing.span(first, after, last, before)
    store, stored_id = info.context.workspace.inbound, database_id(hook_id, "InboundHook") or ""

    async def count() -> int:
        return await store.count(stored_id, status)

    return listing.connection(await store.page(stored_id, status, span), span, delivery_of, count)
