"""Mutations that run failed deliveries again, discard them, and test a mapping. All need the scope `admin`."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

import strawberry

from app.commands.inbound import deliveries as commands
from app.commands.inbound import reruns
from app.domain.actors import ADMIN
from app.domain.errors import Refused
from app.domain.events.events import EventInput
from app.domain.inbound.deliveries import DeliveryStatus
from app.domain.inbound.mappings import FIELDS
from app.domain.values.cursors import decode_cursor
from app.domain.values.decimals import plain
from app.domain.values.instants import format_instant
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.types.enums import EventStatus
from app.graphql.types.ids import given_id, to_global_id
from app.graphql.types.payloads import UserError, user_errors
from app.graphql.types.scalars import JSON

from .deliveries import InboundDelivery, delivery_of, listing
from .hook_mutations import MAPPING_REFERENCE


@strawberry.input
class RerunInboundDeliveryInput:
    """Delivery to run again."""

    id: strawberry.ID = strawberry.field(description="Id of the delivery.")


@strawberry.type
class RerunInboundDeliveryPayload:
    """Result of `rerunInboundDelivery`."""

    delivery: InboundDelivery | None = strawberry.field(
        default=None,
        description="Delivery after the run: PROCESSED, or FAILED with the remaining `problems`. Null if the call "
        "failed.",
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


@strawberry.input
class RerunInboundDeliveriesInput:
    """Failed deliveries of a hook to run again."""

    hook_id: strawberry.ID = strawberry.field(description="Id of the hook.")
    first: int = strawberry.field(
        default=reruns.MAX_RERUNS, description="Maximum number of deliveries to run: 1 to 100. Default: 100."
    )
    after: str | None = strawberry.field(
        default=None,
        description="`endCursor` of the previous call, after which to continue. Default: start with the oldest "
        "delivery.",
    )


@strawberry.type
class RerunInboundDeliveriesPayload:
    """Result of `rerunInboundDeliveries`."""

    processed: int = strawberry.field(default=0, description="Number of deliveries that are PROCESSED now.")
    failed: int = strawberry.field(default=0, description="Number of deliveries that are still FAILED.")
    has_next_page: bool = strawberry.field(default=False, description="Whether more failed deliveries follow.")
    end_cursor: str | None = strawberry.field(
        default=None, description="Cursor of the last delivery run, for `after` of the next call."
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


@strawberry.input
class DiscardInboundDeliveryInput:
    """Failed delivery to discard."""

    id: strawberry.ID = strawberry.field(description="Id of the delivery.")


@strawberry.type
class DiscardInboundDeliveryPayload:
    """Result of `discardInboundDelivery`."""

    discarded_id: strawberry.ID | None = strawberry.field(
        default=None, description="Id of the discarded delivery; null if the call failed."
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


@strawberry.input
class TestInboundHookInput:
    """Message to test with a hook, with a mapping, or with both. At least one of `hookId` and `mapping` is required."""

    hook_id: strawberry.ID | None = strawberry.field(
        default=None, description="Hook whose settings apply where the other arguments give none."
    )
    mapping: JSON | None = strawberry.field(default=None, description=f"{MAPPING_REFERENCE} Default: the hook's.")
    source: str | None = strawberry.field(
        default=None, description='Source of the events. Default: the hook\'s, or "test" without a hook.'
    )
    create_missing_passes: bool | None = strawberry.field(
        default=None,
        description="Whether an event for an unknown `passExternalId` would create the pass. Default: the hook's "
        "setting, or false without a hook.",
    )
    body: JSON = strawberry.field(description="Body of the message, as JSON.")
    headers: JSON | None = strawberry.field(
        default=None, description="Headers of the message: an object from names to values. Default: none."
    )


@strawberry.type
class InboundTrial:
    """Result that one item of a tested message would have."""

    index: int = strawberry.field(description="Index of the item in the body, from 0.")
    event: JSON | None = strawberry.field(
        description="Event that the mapping makes of the item, as an item of `recordEvents`; null if the mapping fails "
        "or leaves the item out."
    )
    status: EventStatus | None = strawberry.field(
        description="Outcome that recording the event now would have; null if the mapping fails or leaves the item out."
    )
    user_errors: list[UserError] = strawberry.field(
        description="Reasons why the item would make no event; empty if it would make one or is left out."
    )


@strawberry.type
class TestInboundHookPayload:
    """Result of `testInboundHook`."""

    results: list[InboundTrial] = strawberry.field(
        default_factory=list, description="Result of each item, in the order of the body."
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


async def rerun_inbound_delivery(
    info: Info, input: Annotated[RerunInboundDeliveryInput, strawberry.argument(description="Delivery to run again.")]
) -> RerunInboundDeliveryPayload:
    """Map and record the failed items of a delivery again, by the current mapping of its hook.

    Needs the scope `admin`. Safe to repeat: no event is recorded twice, and a PROCESSED delivery stays as it is.
    """
    info.context.actor.require(ADMIN)
    try:
        delivery = await reruns.rerun_inbound_delivery(info.context.commands, _parse_delivery_id(input.id))
    except Refused as refused:
        return RerunInboundDeliveryPayload(user_errors=user_errors(refused.problems))
    return RerunInboundDeliveryPayload(delivery=delivery_of(delivery))


async def rerun_inbound_deliveries(
    info: Info,
    input: Annotated[RerunInboundDeliveriesInput, strawberry.argument(description="Deliveries to run again.")],
) -> RerunInboundDeliveriesPayload:
    """Run up to 100 failed deliveries of a hook again, oldest first, by the current mapping of the hook.

    Needs the scope `admin`. Safe to repeat: no event is recorded twice.
    """
    info.context.actor.require(ADMIN)
    try:
        after = None if input.after is None else decode_cursor(input.after, "delivery", (int, str), "after")
        hook_id = parse_text(given_id(input.hook_id, "InboundHook"), "hookId")
        done, more = await reruns.rerun_inbound_deliveries(info.context.commands, hook_id, input.first, after)
    except Refused as refused:
        return RerunInboundDeliveriesPayload(user_errors=user_errors(refused.problems))
    processed = sum(delivery.status is DeliveryStatus.PROCESSED for delivery in done)
    return RerunInboundDeliveriesPayload(
        processed=processed,
        failed=len(done) - processed,
        has_next_page=more,
        end_cursor=listing.cursor(done[-1]) if done else input.after,
    )


async def discard_inbound_delivery(
    info: Info, input: Annotated[DiscardInboundDeliveryInput, strawberry.argument(description="Delivery to discard.")]
) -> DiscardInboundDeliveryPayload:
    """Delete a failed delivery with its body; events that it recorded stay. Needs the scope `admin`.

    Safe to repeat: once the delivery is deleted, a call returns a user error with the code UNKNOWN.
    """
    info.context.actor.require(ADMIN)
    try:
        discarded = await reruns.discard_inbound_delivery(info.context.commands, _parse_delivery_id(input.id))
    except Refused as refused:
        return DiscardInboundDeliveryPayload(user_errors=user_errors(refused.problems))
    return DiscardInboundDeliveryPayload(discarded_id=strawberry.ID(to_global_id("InboundDelivery", discarded)))


async def test_inbound_hook(
    info: Info, input: Annotated[TestInboundHookInput, strawberry.argument(description="Message and settings to test.")]
) -> TestInboundHookPayload:
    """Return the events that a message would become, and the outcome of each, without recording anything.

    Needs the scope `admin`. Safe to repeat.
    """
    info.context.actor.require(ADMIN)
    try:
        trials = await commands.test_inbound_hook(
            info.context.commands,
            input.body,
            input.headers,
            hook_id=None if input.hook_id is None else parse_text(given_id(input.hook_id, "InboundHook"), "hookId"),
            mapping=input.mapping,
            source=input.source,
            create_missing_passes=input.create_missing_passes,
        )
    except Refused as refused:
        return TestInboundHookPayload(user_errors=user_errors(refused.problems))
    return TestInboundHookPayload(
        results=[
            InboundTrial(
                index=trial.index,
                event=None if trial.event is None else JSON(_render_event(trial.event)),
                status=trial.status,
                user_errors=user_errors(trial.problems, "body", str(trial.index)),
            )
            for trial in trials
        ]
    )


def _render_event(event: EventInput) -> dict[str, object]:
    values = {name: getattr(event, attribute) for name, attribute in {**FIELDS, "metadata": "metadata"}.items()}
    return {name: _render_value(value) for name, value in values.items() if value is not None}


def _render_value(value: object) -> object:
    match value:
        case Decimal():
            return plain(value)
        case datetime():
            return format_instant(value)
    return value


def _parse_delivery_id(id: strawberry.ID) -> str:
    return parse_text(given_id(id, "InboundDelivery"), "id")
