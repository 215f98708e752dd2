"""recordPurchase, recordRefund, recordCheckIn, recordActivity and recordFieldChange: recordEvent with fewer words.

Each puts an event together and hands it to the same path: the same identity, rules, receipts and errors. An event that was
recorded by one of them is repeated by recordEvent with the same values, and the other way round.
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

from .mutations import RecordEventPayload, record_one


class FieldChange(StrEnum):
    """What becomes of a field of a pass."""

    SET = "SET"
    INCREMENT = "INCREMENT"
    DECREMENT = "DECREMENT"


describe_enum(
    FieldChange,
    "FieldChange",
    {
        "SET": "It becomes `newValue`; without one it is removed.",
        "INCREMENT": "It grows by `amount`, exactly.",
        "DECREMENT": "It shrinks by `amount`, exactly.",
    },
)
FIELD_TYPES = {
    FieldChange.SET: "field_updated",
    FieldChange.INCREMENT: "field_increment",
    FieldChange.DECREMENT: "field_decrement",
}


@strawberry.input
class ShortInput:
    """What every event may say."""

    pass_id: strawberry.ID | None = strawberry.field(
        default=None, description="The pass it happened on; exactly one of passId and passExternalId is given."
    )
    pass_external_id: str | None = strawberry.field(
        default=None, description="The external id of the pass it happened on."
    )
    create_missing_passes: bool = strawberry.field(
        default=False, description="Create the pass that passExternalId names, if it is not there."
    )
    occurred_at: RawDateTime | None = strawberry.field(
        default=None, description="When it happened; now, if omitted. The past is welcome."
    )
    external_id: str | None = strawberry.field(
        default=None,
        description="Its id in your system. With it, sending the event again records nothing new, for ever.",
    )
    source: str | None = strawberry.field(
        default=None, description='The system it comes from, part of its identity; "api", if omitted.'
    )
    metadata: JSON | None = strawberry.field(default=None, description="Free details.")
    points: RawDecimal | None = strawberry.field(default=None, description="Points earned, or spent where negative.")
    points_expire_at: RawDateTime | None = strawberry.field(default=None, description="When the points given here end.")
    points_expire_after_days: int | None = strawberry.field(
        default=None,
        description="Instead: they end so many days (24 h) after the pass's last activity, which any later event moves. "
        "1 to 3,650.",
    )
    label: str | None = strawberry.field(default=None, description="What people call it; that of its type, if omitted.")
    staff: str | None = strawberry.field(
        default=None, description="The member of staff who enters it by hand. Needs the scope `staff`."
    )
    idempotency_key: str | None = strawberry.field(
        default=None, description="The identity of the call, at most 255 characters; see `recordEvent`."
    )


@strawberry.input
class RecordPurchaseInput(ShortInput):
    """Something that was bought. metadata: for example order_id, items."""

    amount: RawDecimal = strawberry.field(description="What it cost; never negative.")
    currency: str | None = strawberry.field(default=None, description="ISO 4217; the workspace's, if omitted.")


@strawberry.input
class RecordRefundInput(ShortInput):
    """Money that went back. metadata: for example reason."""

    amount: RawDecimal | None = strawberry.field(
        default=None,
        description="What went back, never negative: it subtracts from spend. With correctionOf, all of it, if omitted.",
    )
    currency: str | None = strawberry.field(
        default=None, description="ISO 4217; that of the event corrected, or the workspace's, if omitted."
    )
    correction_of: strawberry.ID | None = strawberry.field(
        default=None, description="The purchase that is refunded, on the same pass."
    )


@strawberry.input
class RecordCheckInInput(ShortInput):
    """Somebody came. metadata: for example location."""


@strawberry.input
class RecordActivityInput(ShortInput):
    """Something that a customer did."""

    type: str = strawberry.field(
        description="A built-in activity such as `scan`, `visit`, `pass_installed`, or a name of your own."
    )


@strawberry.input
class RecordFieldChangeInput(ShortInput):
    """A change of a field of a pass."""

    change: FieldChange = strawberry.field(default=FieldChange.SET, description="What becomes of the field.")
    field_name: str = strawberry.field(description="The field.")
    old_value: str | None = strawberry.field(default=None, description="Its value before, as you know it.")
    new_value: str | None = strawberry.field(
        default=None,
        description="Its value after. Without an amount, the step is the difference from oldValue, or this itself.",
    )
    amount: RawDecimal | None = strawberry.field(default=None, description="The step of an increment or decrement.")


async def record_purchase(
    info: Info, input: Annotated[RecordPurchaseInput, strawberry.argument(description="The purchase.")]
) -> RecordEventPayload:
    """Records a `purchase`, as recordEvent does.

    Safe to repeat with an externalId or an idempotencyKey; without, a blind repeat may double it.
    """
    return await _recorded(info, input, type="purchase", amount=input.amount, currency=input.currency)


async def record_refund(
    info: Info, input: Annotated[RecordRefundInput, strawberry.argument(description="The refund.")]
) -> RecordEventPayload:
    """Records a `refund`, as recordEvent does.

    Safe to repeat with an externalId or an idempotencyKey; without, a blind repeat may double it.
    """
    if input.amount is None and input.correction_of is None:
        missing = Problem(Code.REQUIRED, "Say how much went back, or by correctionOf which purchase.", ("amount",))
        return RecordEventPayload(status=EventStatus.REJECTED, user_errors=user_errors([missing]))
    corrected = given_id(input.correction_of, "Event")
    return await _recorded(
        info, input, type="refund", amount=input.amount, currency=input.currency, correction_of=corrected
    )


async def record_check_in(
    info: Info, input: Annotated[RecordCheckInInput, strawberry.argument(description="The check-in.")]
) -> RecordEventPayload:
    """Records a `check_in`, as recordEvent does.

    Safe to repeat with an externalId or an idempotencyKey; without, a blind repeat may double it.
    """
    return await _recorded(info, input, type="check_in")


async def record_activity(
    info: Info, input: Annotated[RecordActivityInput, strawberry.argument(description="The activity.")]
) -> RecordEventPayload:
    """Records an event of the category ACTIVITY, as recordEvent does.

    Safe to repeat with an externalId or an idempotencyKey; without, a blind repeat may double it.
    """
    # A built-in activity says so itself; anything else is held to be one.
    known = TYPES.get(input.type) is Category.ACTIVITY
    payload = await _recorded(info, input, type=input.type, category=None if known else Category.ACTIVITY)
    for error in payload.user_errors:
        if error.field == ["category"]:
            error.field = ["type"]
    return payload


async def record_field_change(
    info: Info, input: Annotated[RecordFieldChangeInput, strawberry.argument(description="The change.")]
) -> RecordEventPayload:
    """Records that a field of the pass was set, incremented or decremented, as recordEvent does; the field follows
    within moments, exactly once. Safe to repeat with an externalId or an idempotencyKey; without, a blind repeat may
    double it.
    """
    return await _recorded(
        info,
        input,
        type=FIELD_TYPES[input.change],
        field_name=input.field_name,
        old_value=input.old_value,
        new_value=input.new_value,
        amount=input.amount,
    )


async def _recorded(info: Info, input: ShortInput, **values: Any) -> RecordEventPayload:
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
        **values,
    )
    return await record_one(info, sent, input.idempotency_key, create_missing_pass=input.create_missing_passes)
