"""Outcomes of events: whether an event counts, and why not."""

from __future__ import annotations

from decimal import Decimal

import strawberry

from app.domain.events.events import POINTS_RETURNED
from app.domain.events.guards import Outcome, OutcomeStatus
from app.domain.ids import outward_id
from app.graphql.context import Info
from app.graphql.types.enums import describe_enum

describe_enum(
    OutcomeStatus,
    "OutcomeStatus",
    {
        "UNDECIDED": "No worker has counted or declined the event yet.",
        "COUNTED": "The event counts.",
        "DECLINED": "The event was declined and counts nowhere: not in totals, points, segments, rules or statistics.",
    },
)


@strawberry.type
class DeclineReason:
    """Reason why an event was declined."""

    code: str = strawberry.field(
        description="Code for programs: `INSUFFICIENT_POINTS`, `OVER_CORRECTED` (more than is left of the corrected event), "
        "`NOT_COUNTED` (the corrected event does not count), or a code of a redemption."
    )
    message: str = strawberry.field(description="One sentence for people.")


@strawberry.type
class EventOutcome:
    """Whether an event counts. A worker decides it once, when it counts the event; nothing accepted is taken back."""

    status: OutcomeStatus = strawberry.field(description="Whether the event counts.")
    reasons: list[DeclineReason] = strawberry.field(description="Why the event was declined. Empty if it was not.")
    amount: Decimal | None = strawberry.field(
        description="What a refund or credit without an amount stands for: what was left of the corrected event when a "
        "worker counted it. Null for all other events."
    )
    returned: bool = strawberry.field(
        default=False,
        description="Whether the points of a transfer went back to this pass, because the other pass had been erased.",
    )


async def read_outcome(info: Info, event_id: str, known: Outcome, *, is_sent_transfer: bool = False) -> EventOutcome:
    """Return the outcome of an event. One that was not decided when the event was read is read again.

    `is_sent_transfer`: the event takes the points of a transfer from the pass that sends them.
    """
    if known.status is OutcomeStatus.UNDECIDED:
        stored = await info.context.load.events.load(event_id)
        known = known if stored is None else stored.outcome
    reasons = [DeclineReason(code=reason.code, message=reason.message) for reason in known.reasons]
    is_returned = is_sent_transfer and await _has_come_back(info, event_id)
    return EventOutcome(status=known.status, reasons=reasons, amount=known.amount, returned=is_returned)


async def _has_come_back(info: Info, event_id: str) -> bool:
    """Return whether the points of a transfer went back to the sender."""
    second = await info.context.load.events.load(outward_id("event", event_id, 0))
    return second is not None and second.type == POINTS_RETURNED
