"""broadcastMessage: queue a message to each member of a segment, a batch of members at a time.

The id of a message follows from the job and the pass, so a repeated batch queues nothing twice. Members are passes that
answer for those merged into them: each gets one message.
"""

from __future__ import annotations

from app.clock import system_ms
from app.domain.ids import broadcast_message_id
from app.domain.jobs import Tally
from app.domain.messages.messages import Message, MessageCause, MessageOrigin
from app.domain.values.instants import from_ms
from app.store.codecs.jobs import BroadcastOrder
from app.store.mongo.paging import PageRequest

from .lease import JobLease

BROADCAST_BATCH_SIZE = 500
"""Members that one batch queues messages for."""


async def run_broadcast(lease: JobLease) -> bool:
    """Queue messages for one slice of time and return whether all members have one."""
    order = lease.run.order
    assert isinstance(order, BroadcastOrder)
    if lease.run.position is None:
        total = await lease.workspace.passes.member_count(order.segment_id)
        await lease.commit({"after": None, "over": False}, Tally(), total)
    while not lease.is_lost and not lease.run.position["over"] and await lease.can_continue():
        if not await _queue_batch(lease, order):
            return False
    lease.result["messages"] = lease.run.tally.created + lease.run.tally.duplicate
    return not lease.is_lost and bool(lease.run.position["over"])


async def _queue_batch(lease: JobLease, order: BroadcastOrder) -> bool:
    after = lease.run.position["after"]
    page = await lease.workspace.passes.members(
        order.segment_id, PageRequest(BROADCAST_BATCH_SIZE, None if after is None else (after,))
    )
    now_ms = system_ms()
    queued = [
        Message.queued(
            broadcast_message_id(lease.run.job_id, card.id),
            workspace_id=lease.run.workspace_id,
            channel_key=order.channel_key,
            pass_id=card.id,
            template_id=order.template_id,
            cause=MessageCause(MessageOrigin.BROADCAST, job_id=lease.run.job_id),
            at=from_ms(order.at_ms),
            now=from_ms(now_ms),
            valid_for_hours=order.valid_for_hours,
        )
        for card in page.items
    ]
    existing = await lease.workspace.messages.insert_queued(queued, now_ms) if queued else set()
    if queued:
        lease.worker.resources.bus.wake("send", lease.run.workspace_id)
    last = page.items[-1].id if page.items else after
    tally = lease.run.tally.plus(Tally(len(queued) - len(existing), len(existing)))
    return await lease.commit({"after": last, "over": not page.has_more}, tally)
