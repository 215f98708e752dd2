"""Replays: queue messages to a webhook endpoint again, as PENDING deliveries.

The dispatcher of the endpoint sends them beside new messages. A replay queues only activities that their partition has
passed; the partition itself sends the others. If the worker crashes and the next one repeats a batch, its messages may
be sent twice, with the same `webhook-id`.
"""

from __future__ import annotations

from app.clock import SystemClock
from app.domain.activities import Activity
from app.domain.activity_queries import ActivityQuery
from app.domain.jobs import Tally
from app.domain.values.instants import to_ms
from app.domain.webhooks.deliveries import DeliveryQuery
from app.domain.webhooks.partitions import partition_of
from app.store.codecs.jobs import ReplayOrder
from app.store.mongo.paging import PageRequest

from .lease import JobLease

REPLAY_BATCH_SIZE = 500
POSITIONS_PER_QUERY = 5_000
"""Positions of the log that one query examines."""


async def run_replay(lease: JobLease) -> bool:
    """Queue messages for one slice of time and return whether all messages are queued."""
    order = lease.run.order
    assert isinstance(order, ReplayOrder)
    if lease.run.step == 0 and not await lease.commit(
        lease.run.position, lease.run.tally, await _count_messages(lease, order)
    ):
        return False
    while (position := lease.run.position)["at"] != "end":
        if not await lease.can_continue():
            return False
        if isinstance(order.query, DeliveryQuery):
            activities, at = await _read_delivered(lease, order.query, position["at"])
        else:
            activities, at = await _read_matching(lease, order.query, position["at"], order.upto)
        if activities:
            now_ms = to_ms(await SystemClock().now())
            positions = await lease.workspace.partitions.positions(order.endpoint_id)
            passed = [
                each for each in activities if positions and each.position < positions[partition_of(each.pass_id)]
            ]
            await lease.workspace.deliveries.requeue(order.endpoint_id, passed, now_ms)
            if await lease.workspace.forget_if_deleted(order.endpoint_id):
                break
            if await lease.workspace.partitions.announce_work(now_ms, order.endpoint_id):
                lease.worker.resources.bus.wake("deliver", lease.workspace.id)
        if not await lease.commit({"at": at}, lease.run.tally.plus(Tally(len(activities)))):
            return False
    lease.result["messages"] = lease.run.tally.done
    return True


async def _count_messages(lease: JobLease, order: ReplayOrder) -> int:
    if isinstance(order.query, DeliveryQuery):
        return await lease.workspace.deliveries.count(order.query)
    return await lease.workspace.activities.count(order.query, (lease.run.position["at"], order.upto))


async def _read_delivered(lease: JobLease, query: DeliveryQuery, at: object) -> tuple[list[Activity], object]:
    """Return the activities of the next matching deliveries, and the position to continue from."""
    key = tuple(at) if isinstance(at, list) else None
    page = await lease.workspace.deliveries.page(query, PageRequest(REPLAY_BATCH_SIZE, key))
    activities = await lease.workspace.activities.get_many([each.activity_id for each in page.items])
    last = page.items[-1] if page.has_more else None
    return list(activities.values()), "end" if last is None else [to_ms(last.created_at), last.id]


async def _read_matching(
    lease: JobLease, query: ActivityQuery, position: int, upto: int
) -> tuple[list[Activity], object]:
    """Return the next matching activities behind a position, and the position to continue from."""
    stop = min(position + POSITIONS_PER_QUERY, upto)
    page = await lease.workspace.activities.page(query, PageRequest(REPLAY_BATCH_SIZE, (position,), (stop + 1,)))
    if page.has_more:
        return page.items, page.items[-1].position
    return page.items, stop if stop < upto else "end"
