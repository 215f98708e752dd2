"""rerunInboundDelivery, rerunInboundDeliveries, discardInboundDelivery and testInboundHook at the edge."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

import strawberry

from app.commands.inbound import deliveries as commands
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
from .hooks import MAPPING


@strawberry.input
class RerunInboundDeliveryInput:
    """A delivery to run again."""

    id: strawberry.ID = strawberry.field(description="The delivery.")


@strawberry.type
class RerunInboundDeliveryPayload:
    """The delivery after it was run again."""

    delivery: InboundDelivery | None = strawberry.field(
        default=None, description="The delivery, PROCESSED or with what still fails; absent if it was refused."
    )
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


@strawberry.input
class RerunInboundDeliveriesInput:
    """Failed deliveries of a hook to run again, the oldest first."""

    hook_id: strawberry.ID = strawberry.field(description="The hook.")
    first: int = strawberry.field(default=commands.MAX_RERUNS, description="How many to run: 1 to 100.")
    after: str | None = strawberry.field(default=None, description="Go on behind this `endCursor`.")


@strawberry.type
class RerunInboundDeliveriesPayload:
    """What became of the deliveries that were run again."""

    processed: int = strawberry.field(default=0, description="How many are PROCESSED now.")
    failed: int = strawberry.field(default=0, description="How many still fail.")
    has_next_page: bool = strawberry.field(default=False, description="Whether there were more.")
    end_cursor: str | None = strawberry.field(default=None, description="Where to go on.")
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


@strawberry.input
class DiscardInboundDeliveryInput:
    """A failed delivery to forget."""

    id: strawberry.ID = strawberry.field(description="The delivery.")


@strawberry.type
class DiscardInboundDeliveryPayload:
    """The delivery that was forgotten."""

    discarded_id: strawberry.ID | None = strawberry.field(default=None, description="Its id; absent if it was refused.")
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


@strawberry.input
class TestInboundHookInput:
    """A body, and a hook or a mapping to try on it. Nothing is written."""

    hook_id: strawberry.ID | None = strawberry.field(default=None, description="The hook whose settings are tried.")
    mapping: JSON | None = strawberry.field(default=None, description=f"Tried in place of the hook's. {MAPPING}")
    source: str | None = strawberry.field(default=None, description="Tried in place of the hook's.")
    create_missing_passes: bool | None = strawberry.field(
        default=None, description="Tried in place of the hook's; false without one."
    )
    body: JSON = strawberry.field(description="What the sender would send.")
    headers: JSON | None = strawberry.field(default=None, description="The headers it would send along, by name.")


@strawberry.type
class InboundTrial:
    """What would become of one item of the body."""

    index: int = strawberry.field(description="Its place in the body, from 0.")
    event: JSON | None = strawberry.field(
        description="The item of recordEvents that it would become; null where it fails or is left out."
    )
    status: EventStatus | None = strawberry.field(
        description="Its fate; null where the mapping leaves it out, or fails."
    )
    user_errors: list[UserError] = strawberry.field(description="Why it would make no event.")


@strawberry.type
class TestInboundHookPayload:
    """What would become of a body."""

    results: list[InboundTrial] = strawberry.field(default_factory=list, description="In the order of the body.")
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


async def rerun_inbound_delivery(
    info: Info, input: Annotated[RerunInboundDeliveryInput, strawberry.argument(description="The delivery.")]
) -> RerunInboundDeliveryPayload:
    """Maps and records what failed of a delivery again; nothing is recorded twice.

    Needs the scope `admin`. Safe to repeat.
    """
    info.context.actor.require(ADMIN)
    try:
        delivery = await commands.rerun_inbound_delivery(info.context.commands, _named(input.id))
    except Refused as refused:
        return RerunInboundDeliveryPayload(user_errors=user_errors(refused.problems))
    return RerunInboundDeliveryPayload(delivery=delivery_of(delivery))


async def rerun_inbound_deliveries(
    info: Info, input: Annotated[RerunInboundDeliveriesInput, strawberry.argument(description="The hook.")]
) -> RerunInboundDeliveriesPayload:
    """Does that for up to 100 failed deliveries of a hook, the oldest first.

    Needs the scope `admin`. Safe to repeat.
    """
    info.context.actor.require(ADMIN)
    try:
        after = None if input.after is None else decode_cursor(input.after, "delivery", (int, str), "after")
        hook_id = parse_text(given_id(input.hook_id, "InboundHook"), "hookId")
        done, more = await commands.rerun_inbound_deliveries(info.context.commands, hook_id, input.first, after)
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
    info: Info, input: Annotated[DiscardInboundDeliveryInput, strawberry.argument(description="The delivery.")]
) -> DiscardInboundDeliveryPayload:
    """Forgets a failed delivery and its body; what it recorded stays. Needs the scope `admin`."""
    info.context.actor.require(ADMIN)
    try:
        discarded = await commands.discard_inbound_delivery(info.context.commands, _named(input.id))
    except Refused as refused:
        return DiscardInboundDeliveryPayload(user_errors=user_errors(refused.problems))
    return DiscardInboundDeliveryPayload(discarded_id=strawberry.ID(to_global_id("InboundDelivery", discarded)))


async def test_inbound_hook(
    info: Info, input: Annotated[TestInboundHookInput, strawberry.argument(description="What to try.")]
) -> TestInboundHookPayload:
    """Tells what a body would become, by a hook or by a mapping that is only tried; writes nothing.

    Needs the scope `admin`.
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
                event=None if trial.event is None else JSON(_shown(trial.event)),
                status=trial.status,
                user_errors=user_errors(trial.problems, "body", str(trial.index)),
            )
            for trial in trials
        ]
    )


def _shown(event: EventInput) -> dict[str, object]:
    found = {name: getattr(event, attribute) for name, attribute in {**FIELDS, "metadata": "metadata"}.items()}
    return {name: _written(value) for name, value in found.items() if value is not None}


def _written(value: object) -> object:
    match value:
        case Decimal():
            return plain(value)
        case datetime():
            return format_instant(value)
    return value


def _named(id: strawberry.ID) -> str:
    return parse_text(given_id(id, "InboundDelivery"), "id")
