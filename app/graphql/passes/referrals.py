"""The mutations confirmPass and recordReferral."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.commands.passes import referrals as commands
from app.domain.errors import Refused
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.events.events import Event, event_of
from app.graphql.events.payloads import issue_receipt
from app.graphql.events.receipts import IngestReceipt
from app.graphql.types.ids import given_id
from app.graphql.types.payloads import UserError, user_errors


@strawberry.input
class ConfirmPassInput:
    """Pass whose customer confirmed the own data, for example an address of mail."""

    pass_id: strawberry.ID = strawberry.field(description="Id of the pass.")


@strawberry.input
class RecordReferralInput:
    """Recommendation of one customer, because of which another one joined."""

    pass_id: strawberry.ID = strawberry.field(description="Id of the pass of the customer who joined.")
    referred_by_pass_id: strawberry.ID = strawberry.field(
        description="Id of the pass of the customer who recommended it."
    )
    external_id: str | None = strawberry.field(
        default=None,
        description="Id of the referral in your system, at most 255 characters. A repeat with the same one changes nothing. "
        "Default: the two passes name the referral, so that a pass refers another one once.",
    )


@strawberry.type
class ConfirmPassPayload:
    """Result of `confirmPass`."""

    event: Event | None = strawberry.field(default=None, description="Recorded event; null if the call failed.")
    receipt: IngestReceipt | None = strawberry.field(
        default=None, description="Receipt of the call, to wait for the event; null if the call failed."
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


@strawberry.type
class RecordReferralPayload:
    """Result of `recordReferral`."""

    event: Event | None = strawberry.field(
        default=None,
        description="Event `pass_referred` on the pass of the customer who joined; null if the call failed.",
    )
    receipt: IngestReceipt | None = strawberry.field(
        default=None, description="Receipt of the call, to wait for the event; null if the call failed."
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


async def confirm_pass(
    info: Info, input: Annotated[ConfirmPassInput, strawberry.argument(description="Pass to confirm.")]
) -> ConfirmPassPayload:
    """Record that a customer confirmed the own data. Needs the scope `write`. Safe to repeat.

    The event has the type `pass_confirmed` and the activity `customer.confirmed`. A pass is confirmed once.
    """
    try:
        pass_id = parse_text(given_id(input.pass_id, "Pass"), "passId")
        recorded = await commands.confirm_pass(info.context.commands, pass_id)
    except Refused as refused:
        return ConfirmPassPayload(user_errors=user_errors(refused.problems))
    [result] = recorded.outcome.results
    return ConfirmPassPayload(
        event=None if result.event is None else event_of(result.event), receipt=await issue_receipt(info, recorded)
    )


async def record_referral(
    info: Info, input: Annotated[RecordReferralInput, strawberry.argument(description="Referral to record.")]
) -> RecordReferralPayload:
    """Record that a customer joined because another one recommended it. Needs the scope `write`. Safe to repeat.

    The customer who joined gets the event `pass_referred`, with the activity `customer.referred`. The other one gets the
    event `friend_referred`. Rules for these types reward each of the two.
    """
    try:
        recorded = await commands.record_referral(
            info.context.commands,
            parse_text(given_id(input.pass_id, "Pass"), "passId"),
            parse_text(given_id(input.referred_by_pass_id, "Pass"), "referredByPassId"),
            input.external_id,
        )
    except Refused as refused:
        return RecordReferralPayload(user_errors=user_errors(refused.problems))
    [result] = recorded.outcome.results
    return RecordReferralPayload(
        event=None if result.event is None else event_of(result.event), receipt=await issue_receipt(info, recorded)
    )
