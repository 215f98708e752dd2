"""sendMessage as an effect of a rule: the message that a firing queues."""

from __future__ import annotations

from app.clock import SystemClock
from app.domain.messages.messages import Message, MessageCause, MessageOrigin
from app.domain.reactions.reactions import QueueMessage, Reaction
from app.domain.values.instants import to_ms
from app.resources import Resources
from app.store.workspace.workspace import Workspace


async def queue_message(resources: Resources, workspace: Workspace, reaction: Reaction, body: QueueMessage) -> None:
    """Queue the message that an effect stands for. Safe to repeat. Nothing is queued for an erased pass.

    A message over a channel that was archived meanwhile fails when it is to be sent. Raises Unavailable.
    """
    if not await workspace.passes.existing([reaction.pass_id]):
        return
    now = await SystemClock().now()
    message = Message.queued(
        reaction.id,
        workspace_id=workspace.id,
        channel_key=body.channel_key,
        pass_id=reaction.pass_id,
        template_id=body.template_id,
        cause=MessageCause(
            MessageOrigin.RULE,
            event_id=body.event_id,
            rule_id=body.rule_id,
            rule_key=body.rule_key,
            activity_id=reaction.activity_id,
        ),
        at=body.at,
        now=now,
        valid_for_hours=body.valid_for_hours,
    )
    await workspace.messages.insert_queued([message], to_ms(now))
    resources.bus.wake("send", workspace.id)
