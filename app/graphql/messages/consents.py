"""The mutation recordConsent."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.commands.messages import consents as commands
from app.domain.errors import Refused
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.events.events import Event, event_of
from app.graphql.events.payloads import issue_receipt
from app.graphql.events.receipts import IngestReceipt
from app.graphql.types.ids import given_id
from app.graphql.types.payloads import UserError, user_errors
from app.graphql.types.scalars import RawDateTime


@strawberry.input
class RecordConsentInput:
    """Consent that a customer gave or took back."""

    pass_id: strawberry.ID | None = strawberry.field(
        default=None, description="Id of the pass. Give exactly one of `passId` and `passExternalId`."
    )
    pass_external_id: str | None = strawberry.field(default=None, description="External id of the pass.")
    channel_key: str = strawberry.field(description="Key of a channel that needs the consent.")
    given: bool = strawberry.field(description="Whether the customer gave the consent; false takes it back.")
    at: RawDateTime | None = strawberry.field(
        default=None, description="Instant at which the customer said so, not in the future. Default: now."
    )
    source: str | None = strawberry.field(
        default=None, description='How the customer said so, for example "checkout", at most 255 characters.'
    )


@strawberry.type
class RecordConsentPayload:
    """Result of `recordConsent`."""

    event: Event | None = strawberry.field(default=None, description="Recorded event; null if the call failed.")
    receipt: IngestReceipt | None = strawberry.field(
        default=None, description="Receipt of the call, to wait for the event; null if the call failed."
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


async def record_consent(
    info: Info, input: Annotated[RecordConsentInput, strawberry.argument(description="Consent to record.")]
) -> RecordConsentPayload:
    """Record that a customer gave a consent, or took it back. Needs the scope `write`. Safe to repeat.

    Messages that are sent from now on follow it. An event with an earlier `at` counts in its order.
    """
    try:
        recorded = await commands.record_consent(
            info.context.commands,
            pass_id=None if input.pass_id is None else parse_text(given_id(input.pass_id, "Pass"), "passId"),
            external_id=input.pass_external_id,
            channel_key=input.channel_key,
            given=input.given,
            at=input.at,
            source=input.source,
        )
    except Refused as refused:
        return RecordConsentPayload(user_errors=user_errors(refused.problems))
    [result] = recorded.outcome.results
    return RecordConsentPayload(
        event=None if result.event is None else event_of(result.event), receipt=await issue_receipt(info, recorded)
    )
