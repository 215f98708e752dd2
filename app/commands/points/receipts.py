"""The second event of a transfer: the other pass receives the points, or they go back to the pass that sent them."""

from __future__ import annotations

from dataclasses import replace

from app.domain.events.events import POINTS_RETURNED, POINTS_TRANSFERRED, Event, Origin
from app.domain.events.own_events import own_event
from app.domain.reactions.parked import Refusal
from app.domain.reactions.reactions import Reaction, ReceivePoints
from app.resources import Resources
from app.store.workspace.workspace import Workspace

_ORIGIN = Origin("INTERNAL")


async def receive_points(
    resources: Resources, workspace: Workspace, reaction: Reaction, body: ReceivePoints
) -> Refusal | None:
    """Record that the receiver gets the points of a transfer, or that the sender gets them back. Return None.

    The points go back if the receiver is erased. Both events have the same id, so only one of them is ever recorded.
    Nothing is recorded if both passes are erased. Safe to repeat. Raises Unavailable.
    """
    survivors = await workspace.passes.existing([body.receiver_id, reaction.pass_id])
    kind = POINTS_TRANSFERRED if body.receiver_id in survivors else POINTS_RETURNED
    pass_id = survivors.get(body.receiver_id) or survivors.get(reaction.pass_id)
    if pass_id is None:
        return None
    metadata = {"transfer": body.transfer_id, "from": reaction.pass_id, "to": body.receiver_id}
    at = await resources.clock.now()
    blank = own_event(reaction.id, pass_id, kind, at=at, origin=_ORIGIN, metadata=metadata)
    received: Event = replace(blank, points=body.points)
    await workspace.events.insert([(received, b"")])
    resources.wake_fold(workspace.id, [pass_id])
    return None
