"""Short forms of recordEvent: recordPurchase, recordRefund, recordCheckIn, recordActivity and recordFieldChange.

Each builds an event and records it as recordEvent does, with the same identity, rules, receipts and errors. A short
form and recordEvent with the same values record the same event: the second of the two calls returns DUPLICATE.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import strawberry

from app.domain.errors import Code, Problem
from app.domain.events.events import TYPES, Category, EventInput
from app.graphql.context import Info
from app.graphql.types.enums import EventStatus, describe_enum
from app.graphql.types.ids import given_id
from app.graphql.types.payloads import user_errors
from app.graphql.types.scalars import JSON, RawDateTime, RawDecimal

from .mutations import GUARD_DESCRIPTION, EventGuardInput, record_one
from .payloads import WAIT_DESCRIPTION, RecordEventPayload, RecordWait


class FieldChange(StrEnum):
    """Kind of change of a field of a pass."""

    SET = "SET"
    INCREMENT = "INCREMENT"
    DECREMENT = "DECREMENT"


describe_enum(
    FieldChange,
    "FieldChange",
    {
        "SET": "Set the field to the text `newValue`. Without `newValue`, remove the field.",
        "INCREMENT": "Add the step to the number in the field, exactly. A field without a number counts as 0.",
        "DECREMENT": "Subtract the step from the number in the field, exactly. A field without a number counts as 0.",
    },
)
FIELD_TYPES = {
    FieldChange.SET: "field_updated",
    FieldChange.INCREMENT: "field_increment",
    FieldChange.DECREMENT: "field_decrement",
}


@strawberry.input
class ShortInput:
    """Values that every short form of recordEvent takes."""

    pass_id: strawberry.ID | None = strawberry.field(
        default=None, description="Id of the pass. Give exactly one of `passId` and `passExternalId`."
    )
    pass_external_id: str | None = strawberry.field(default=None, description="External id of the pass.")
    create_missing_passes: bool = strawberry.field(
        default=False,
        description="Whether to create the pass if no pass has the external id. Default: false: the event is rejected.",
    )
    occurred_at: RawDateTime | None = strawberry.field(
        default=None,
        description="Instant at which the event happened. Default: the instant of the call. The past is accepted; the "
        "future only up to 5 minutes ahead.",
    )
    external_id: str | None = strawberry.field(
        default=None,
        description="Id of the event in your system, at most 255 characters; unique within `source`. With it, sending "
        "the event again never records it twice.",
    )
    source: str | None = strawberry.field(
        default=None,
        description="System that the event comes from, at most 100 characters. It is part of the event's identity. "
        'Default: "api".',
    )
    metadata: JSON | None = strawberry.field(
        default=None,
        description="Further details, at most 32,768 bytes as JSON unless the operator of the server sets another "
        "limit.",
    )
    points: RawDecimal | None = strawberry.field(
        default=None, description="Points earned; negative if points are spent. Default: 0."
    )
    points_expire_at: RawDateTime | None = strawberry.field(
        default=None,
        description="Instant at which the points of this event expire. Do not combine it with `pointsExpireAfterDays`.",
    )
    points_expire_after_days: int | None = strawberry.field(
        default=None,
        description="Days of 24 hours without activity on the pass after which the points expire: 1 to 3,650. Every "
        "later event on the pass postpones the expiry, except changes by `updatePass`.",
    )
    label: str | None = strawberry.field(
        default=None,
        description="Name of the event for people, at most 255 characters. Default: the label of the type.",
    )
    staff: str | None = strawberry.field(
        default=None,
        description="Member of staff who acts by hand, at most 255 characters. Needs the scope `staff`. The channel "
        "of the event is `MANUAL`.",
    )
    guard: EventGuardInput | None = strawberry.field(default=None, description=GUARD_DESCRIPTION)
    idempotency_key: str | None = strawberry.field(
        default=None, description="Identity of the call, at most 255 characters; works as in `RecordEventsInput`."
    )
    wait: RecordWait = strawberry.field(default=RecordWait.NONE, description=WAIT_DESCRIPTION)


@strawberry.input
class RecordPurchaseInput(ShortInput):
    """Purchase to record. Typical metadata: `order_id`, `items`."""

    amount: RawDecimal = strawberry.field(description="Price of the purchase, never negative.")
    currency: str | None = strawberry.field(
        default=None, description="Currency of the amount: a code of ISO 4217. Default: the currency of the workspace."
    )


@strawberry.input
class RecordRefundInput(ShortInput):
    """Refund to record. Typical metadata: `reason`."""

    amount: RawDecimal | None = strawberry.field(
        default=None,
        description="Money refunded, never negative; it subtracts from spend. Default: what is left of the event "
        "in `correctionOf`. Required without `correctionOf`.",
    )
    currency: str | None = strawberry.field(
        default=None,
        description="Currency of the amount: a code of ISO 4217. Default: the currency of the event in "
        "`correctionOf`, or else of the workspace.",
    )
    correction_of: strawberry.ID | None = strawberry.field(
        default=None,
        description="Id of the purchase that is refunded, on the same pass. A refund that exceeds what is left of "
        "the purchase is declined: see `Event.outcome`.",
    )


@strawberry.input
class RecordCheckInInput(ShortInput):
    """Check-in to record. Typical metadata: `location`."""


@strawberry.input
class RecordActivityInput(ShortInput):
    """Activity of a customer to record."""

    type: str = strawberry.field(
        description="Type of the event: a built-in type of the category `ACTIVITY` such as `scan`, `visit` or "
        "`pass_installed`, or a name of your own."
    )


@strawberry.input
class RecordFieldChangeInput(ShortInput):
    """Change of a field of a pass to record."""

    change: FieldChange = strawberry.field(default=FieldChange.SET, description="Kind of change. Default: `SET`.")
    field_name: str = strawberry.field(description="Name of the field, at most 100 characters.")
    old_value: str | None = strawberry.field(
        default=None, description="Value of the field before the change, as you know it. At most 2,000 characters."
    )
    new_value: str | None = strawberry.field(
        default=None,
        description="Value of the field after the change, at most 2,000 characters. For an increment or decrement "
        "without `amount`, the step is the difference between `oldValue` and `newValue`, or else "
        "`newValue` itself.",
    )
    amount: RawDecimal | None = strawberry.field(
        default=None, description="Step of an increment or decrement, never negative."
    )


async def record_purchase(
    info: Info, input: Annotated[RecordPurchaseInput, strawberry.argument(description="Purchase to record.")]
) -> RecordEventPayload:
    """Record a `purchase`. Needs the scope `write`.

    The call works as `recordEvent` does. Safe to repeat with an `externalId` or an `idempotencyKey`. Without either, a
    repeated call may record the event twice.
    """
    return await _record(info, input, type="purchase", amount=input.amount, currency=input.currency)


async def record_refund(
    info: Info, input: Annotated[RecordRefundInput, strawberry.argument(description="Refund to record.")]
) -> RecordEventPayload:
    """Record a `refund`. Needs the scope `write`.

    The call works as `recordEvent` does. Safe to repeat with an `externalId` or an `idempotencyKey`. Without either, a
    repeated call may record the event twice.
    """
    if input.amount is None and input.correction_of is None:
        advice = "The amount is missing. Give `amount`, or name the refunded purchase in `correctionOf`."
        problem = Problem(Code.REQUIRED, advice, ("amount",))
        return RecordEventPayload(status=EventStatus.REJECTED, user_errors=user_errors([problem]))
    corrected_id = given_id(input.correction_of, "Event")
    return await _record(
        info, input, type="refund", amount=input.amount, currency=input.currency, correction_of=corrected_id
    )


async def record_check_in(
    info: Info, input: Annotated[RecordCheckInInput, strawberry.argument(description="Check-in to record.")]
) -> RecordEventPayload:
    """Record a `check_in`. Needs the scope `write`.

    The call works as `recordEvent` does. Safe to repeat with an `externalId` or an `idempotencyKey`. Without either, a
    repeated call may record the event twice.
    """
    return await _record(info, input, type="check_in")


async def record_activity(
    info: Info, input: Annotated[RecordActivityInput, strawberry.argument(description="Activity to record.")]
) -> RecordEventPayload:
    """Record an event of the category `ACTIVITY`. Needs the scope `write`.

    The call works as `recordEvent` does. Safe to repeat with an `externalId` or an `idempotencyKey`. Without either, a
    repeated call may record the event twice.
    """
    # Types that are not built in would default to CUSTOM, so the category is sent. A built-in activity needs no category,
    # and without one it is the same event as recordEvent records by its type alone.
    is_built_in = TYPES.get(input.type) is Category.ACTIVITY
    payload = await _record(info, input, type=input.type, category=None if is_built_in else Category.ACTIVITY)
    # The input has no category: report a wrong category at the type that implies it.
    for error in payload.user_errors:
        if error.field == ["category"]:
            error.field = ["type"]
    return payload


async def record_field_change(
    info: Info, input: Annotated[RecordFieldChangeInput, strawberry.argument(description="Field change to record.")]
) -> RecordEventPayload:
    """Record that a field of a pass is set, incremented or decremented. Needs the scope `write`.

    A worker changes the field a moment later, exactly once. The call works as `recordEvent` does. Safe to repeat with
    an `externalId` or an `idempotencyKey`. Without either, a repeated call may change the field twice.
    """
    return await _record(
        info,
        input,
        type=FIELD_TYPES[input.change],
        field_name=input.field_name,
        old_value=input.old_value,
        new_value=input.new_value,
        amount=input.amount,
    )


async def _record(info: Info, input: ShortInput, **values: Any) -> RecordEventPayload:
    sent = EventInput(
        pass_id=given_id(input.pass_id, "Pass"),
        pass_external_id=input.pass_external_id,
        points=input.points,
        occurred_at=input.occurred_at,
        external_id=input.external_id,
        source=input.source,
        metadata=input.metadata,
        points_expire_at=input.points_expire_at,
        points_expire_after_days=input.points_expire_after_days,
        label=input.label,
        staff=input.staff,
        guard=None if input.guard is None else {"minBalance": input.guard.min_balance},
        **values,
    )
    return await record_one(
        info, sent, input.idempotency_key, wait=input.wait, create_missing_pass=input.create_missing_passes
    )
