"""Replays: messages that a webhook endpoint was sent, or should have been, are put up to be sent once more.

They are sent by whoever delivers to the endpoint, beside what is new; what its lanes have not come to is left to these. A
batch that is done again, because somebody died, may send its messages twice: they have the ids that they had.
"""

from __future__ import annotations

from app.clock import SystemClock
from app.domain.activities import Activity, ActivityQuery
from app.domain.jobs import Tally
from app.domain.values.instants import to_ms
from app.domain.webhooks.deliveries import DeliveryQuery
from app.domain.webhooks.partitions import partition_of
from app.store.codecs.jobs import ReplayOrder
from app.store.mongo.paging import PageRequest

from .lease import JobLease

REPLAY_BATCH_SIZE = 500
POSITIONS_PER_QUERY = 5_000
"""How many positions of the log one question looks through."""


async def run_replay(turn: JobLease) -> bool:
    """Puts messages up while the turn goes on; whether all of them are."""
    order = turn.run.order
    assert isinstance(order, ReplayOrder)
    if turn.run.step == 0 and not await turn.commit(turn.run.position, turn.run.tally, await _total(turn, order)):
        return False
    while (position := turn.run.position)["at"] != "end":
        if not await turn.can_continue():
            return False
        if isinstance(order.query, DeliveryQuery):
            activities, at = await _delivered(turn, order.query, position["at"])
        else:
            activities, at = await _shown(turn, order.query, position["at"], order.upto)
        if activities:
            now_ms = to_ms(await SystemClock().now())
            places = await turn.workspace.partitions.positions(order.endpoint_id)
            sent = [each for each in activities if places and each.position < places[partition_of(each.pass_id)]]
            await turn.workspace.deliveries.requeue(order.endpoint_id, sent, now_ms)
            if await turn.workspace.forget_if_deleted(order.endpoint_id):
                break
            if await turn.workspace.partitions.announce_work(now_ms, order.endpoint_id):
                turn.worker.resources.bus.wake("deliver", turn.workspace.id)
        if not await turn.commit({"at": at}, turn.run.tally.plus(Tally(len(activities)))):
            return False
    turn.outcome["messages"] = turn.run.tally.done
    return True


async def _total(turn: JobLease, order: ReplayOrder) -> int:
    if isinstance(order.query, DeliveryQuery):
        return await turn.workspace.deliveries.count(order.query)
    return await turn.workspace.activities.count(order.query, (turn.run.position["at"], order.upto))


async def _delivered(turn: JobLease, query: DeliveryQuery, at: object) -> tuple[list[Activity], object]:
    """The activities of some deliveries that match, and where to go on from."""
    key = tuple(at) if isinstance(at, list) else None
    page = await turn.workspace.deliveries.page(query, PageRequest(REPLAY_BATCH_SIZE, key))
    found = await turn.workspace.activities.get_many([each.activity_id for each in page.items])
    last = page.items[-1] if page.has_more else None
    return list(found.values()), "end" if last is None else [to_ms(last.created_at), last.id]


async def _shown(turn: JobLease, query: ActivityQuery, pos: int, upto: int) -> tuple[list[Activity], object]:
    """Some activities that match behind a position, and where to go on from."""
    stop = min(pos + POSITIONS_PER_QUERY, upto)
    page = await turn.workspace.activities.page(query, PageRequest(REPLAY_BATCH_SIZE, (pos,), (stop + 1,)))
    if page.has_more:
        return page.items, page.items[-1].position
    return page.items, stop if stop < upto else "end"
