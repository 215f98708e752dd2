"""Transfers of points between passes: the mutation transferPoints, and its result."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

import strawberry

from app.commands.events import receipts
from app.commands.events.outcomes import BatchOutcome, ItemResult
from app.commands.events.receipts import RecordedCall
from app.commands.points import transfers as commands
from app.domain.errors import Refused
from app.domain.events.guards import OutcomeStatus
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.events.events import Event, event_of
from app.graphql.events.outcomes import DeclineReason
from app.graphql.events.receipts import IngestReceipt, receipt_of
from app.graphql.types.enums import describe_enum
from app.graphql.types.ids import given_id
from app.graphql.types.node import fetch_node
from app.graphql.types.payloads import UserError, user_errors
from app.graphql.types.scalars import RawDecimal

from .passes import Pass


class TransferStatus(StrEnum):
    """State of a transfer."""

    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


describe_enum(
    TransferStatus,
    "TransferStatus",
    {
        "PENDING": "The transfer is recorded and not decided yet. Repeat the call with its external id to ask again.",
        "SUCCEEDED": "The points left the sender. They reach the receiver a moment later: see `receivedEvent`.",
        "FAILED": "The sender did not have the points. Nothing moved, and `reasons` says why.",
    },
)


@strawberry.input
class TransferPointsInput:
    """Points that one pass sends to another."""

    from_pass_id: strawberry.ID = strawberry.field(description="Id of the pass that sends the points.")
    to_pass_id: strawberry.ID = strawberry.field(description="Id of the pass that receives the points.")
    points: RawDecimal = strawberry.field(description="Number of points; above 0.")
    external_id: str | None = strawberry.field(
        default=None,
        description="Id of the transfer in your system, at most 255 characters. A repeat with the same one changes nothing.",
    )


@strawberry.type
class Transfer:
    """Transfer of points. The sender spends none of them and the receiver earns none."""

    status: TransferStatus = strawberry.field(description="State of the transfer.")
    points: Decimal = strawberry.field(description="Number of points.")
    reasons: list[DeclineReason] = strawberry.field(description="Why it failed. Empty unless its state is `FAILED`.")
    returned: bool = strawberry.field(
        description="Whether the points went back to the sender, because the receiver had been erased."
    )
    sent_event: Event = strawberry.field(description="Event that takes the points from the sender.")
    received_event: Event | None = strawberry.field(
        description="Event that gives the points to the receiver, or back to the sender. Null until it is recorded."
    )
    receiver_id: strawberry.Private[str]
    sender_id: strawberry.Private[str]

    @strawberry.field(name="from")
    async def sender(self, info: Info) -> Pass | None:
        """Pass that sends the points; after a merge, the pass that remains. Null if it was erased."""
        return await fetch_node(info.context, "Pass", self.sender_id)  # type: ignore[no-any-return]

    @strawberry.field(name="to")
    async def receiver(self, info: Info) -> Pass | None:
        """Pass that receives the points; after a merge, the pass that remains. Null if it was erased."""
        return await fetch_node(info.context, "Pass", self.receiver_id)  # type: ignore[no-any-return]


@strawberry.type
class TransferPointsPayload:
    """Result of `transferPoints`."""

    transfer: Transfer | None = strawberry.field(
        default=None, description="The transfer, as far as it is now. Null if nothing was recorded."
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input. Why a transfer failed is in its `reasons`."
    )
    call: strawberry.Private[RecordedCall | None] = None

    @strawberry.field
    async def receipt(self, info: Info) -> IngestReceipt | None:
        """Receipt of the call, for queries that wait until the points have left the sender.

        Null if nothing was recorded.
        """
        return None if self.call is None else receipt_of(await receipts.receipt_of(info.context.commands, self.call))


async def transfer_points(
    info: Info,
    input: Annotated[TransferPointsInput, strawberry.argument(description="The transfer.")],
) -> TransferPointsPayload:
    """Send points from one pass to another. Needs the scope `write`.

    The transfer is decided when it is counted: it fails if the sender has fewer points then. The receiver gets the points
    a moment later; they have no end. Safe to repeat with an `externalId`.
    """
    ctx = info.context.commands
    try:
        recorded = await commands.transfer_points(
            ctx,
            parse_text(given_id(input.from_pass_id, "Pass"), "fromPassId"),
            parse_text(given_id(input.to_pass_id, "Pass"), "toPassId"),
            input.points,
            input.external_id,
        )
    except Refused as refused:
        return TransferPointsPayload(user_errors=user_errors(refused.problems))
    event = recorded.event
    call = RecordedCall(BatchOutcome([ItemResult(0, recorded.status, event)], event.recorded_at))
    return TransferPointsPayload(transfer=_transfer_of(await commands.read_transfer(ctx, event)), call=call)


def _transfer_of(found: commands.Transfer) -> Transfer:
    outcome = found.outcome
    status = {
        OutcomeStatus.UNDECIDED: TransferStatus.PENDING,
        OutcomeStatus.COUNTED: TransferStatus.SUCCEEDED,
        OutcomeStatus.DECLINED: TransferStatus.FAILED,
    }[outcome.status]
    return Transfer(
        status=status,
        points=-found.sent.points,
        reasons=[DeclineReason(code=each.code, message=each.message) for each in outcome.reasons],
        returned=found.is_returned,
        sent_event=event_of(found.sent),
        received_event=None if found.received is None else event_of(found.received),
        sender_id=found.sent.pass_id,
        receiver_id=str(found.sent.metadata.get("to")),
    )
