"""transferPoints: move points from one pass to another.

This command records the first event, which takes the points from the sender. Its walk declines the event if the points do
not suffice. When it is accepted, the stage `react` records the second event.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.commands.context import Context
from app.commands.events.recorded_once import record_once
from app.domain.errors import Code, InvalidInput, NotFound
from app.domain.events.events import OWN_SOURCE, POINTS_RETURNED, POINTS_TRANSFERRED, Event
from app.domain.events.guards import Guard, Outcome
from app.domain.events.own_events import own_event
from app.domain.events.receipts import RecordStatus
from app.domain.ids import event_id, outward_id
from app.domain.values.decimals import ZERO, canonical, parse_decimal
from app.domain.values.text import parse_optional
from app.store.mongo.ids import ordered_id


@dataclass(frozen=True, slots=True)
class RecordedTransfer:
    """The event that takes the points from the sender, and whether this call recorded it."""

    event: Event
    status: RecordStatus


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer as it is now: the event of the sender, its outcome, and the second event, if it is recorded."""

    sent: Event
    outcome: Outcome
    received: Event | None

    @property
    def is_returned(self) -> bool:
        """Whether the points went back to the sender."""
        return self.received is not None and self.received.type == POINTS_RETURNED


async def transfer_points(
    ctx: Context, from_pass_id: str, to_pass_id: str, points: object, external_id: object = None
) -> RecordedTransfer:
    """Record that a pass sends points to another one.

    Safe to repeat with the same `external_id`: the repeat is a DUPLICATE. Raises NotFound for a pass, InvalidInput, Conflict
    for another transfer with the external id, and Unavailable.
    """
    amount = parse_decimal(points, "points")
    if amount <= 0:
        raise InvalidInput(Code.OUT_OF_RANGE, "Give a number of points greater than 0.", "points")
    name = parse_optional(external_id, "externalId")
    survivors = await ctx.workspace.passes.existing([from_pass_id, to_pass_id])
    for field, pass_id in (("fromPassId", from_pass_id), ("toPassId", to_pass_id)):
        if pass_id not in survivors:
            raise NotFound("pass", field)
    sender_id, receiver_id = survivors[from_pass_id], survivors[to_pass_id]
    identity = ordered_id("event") if name is None else event_id(ctx.workspace.id, OWN_SOURCE, name)
    if sender_id == receiver_id and (name is None or not await ctx.workspace.events.stored([identity])):
        raise InvalidInput(Code.INVALID, "Both ids name the same pass; name two passes.", "toPassId")
    now = await ctx.now()
    blank = own_event(identity, sender_id, POINTS_TRANSFERRED, at=now, origin=ctx.origin, metadata={"to": receiver_id})
    event = replace(blank, points=-amount, external_id=name, guard=Guard(min_balance=ZERO))
    sent = {"from": from_pass_id, "to": to_pass_id, "points": canonical(amount)}
    recorded = await record_once(ctx, [event], sent, "externalId")
    [result] = recorded.outcome.results
    assert result.event is not None
    return RecordedTransfer(result.event, result.status)


async def read_transfer(ctx: Context, sent: Event) -> Transfer:
    """Return what is known of a transfer now, from the event that the sender's call recorded. Two round trips."""
    received_id = received_event_id(sent.id)
    decisions = await ctx.workspace.outboxes.decisions([sent.pass_id])
    stored = await ctx.workspace.events.get_many([sent.id, received_id])
    sent = stored.get(sent.id, sent)
    decision = decisions.get(sent.id)
    return Transfer(sent, sent.outcome if decision is None else decision.outcome, stored.get(received_id))


def received_event_id(sent_id: str) -> str:
    """Return the id of the second event of a transfer."""
    return outward_id("event", sent_id, 0)
