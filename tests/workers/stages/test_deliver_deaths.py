"""Whoever delivers may die at any step, and be taken for dead: nothing is lost, and at most one message a lane repeated."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.domain.webhooks.deliveries import WebhookDeliveryStatus
from app.domain.webhooks.partitions import partition_of
from app.store.stages.endpoint_leases import LEASE_MS, EndpointLeases
from app.store.stages.publish import PublishQueries
from app.store.workspace.deliveries import DeliveryQueries
from app.store.workspace.partitions import PartitionQueries
from tests.deaths import Killed, Reaper
from tests.receiver import Answer, Got
from tests.workers.stages.test_deliver import Post, in_order, post, receiver
from workers.worker import Worker

__all__ = ["post", "receiver"]
STEPS = (
    (EndpointLeases, ("claim", "save_progress", "go_idle")),
    (PartitionQueries, ("announce_work",)),
    (DeliveryQueries, ("insert", "save", "deferred")),
)


def mortal(reaper: Reaper, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def step(*args: Any) -> Any:
        return await reaper.mortal(method.__name__, method)(*args)

    return step


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_dies_at_any_step_everything_arrives(
    post: Post, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Also those that brought the work, and with messages that fail among them."""
    reaper = Reaper(seed, 0.08)
    for cls, names in STEPS:
        for name in names:
            monkeypatch.setattr(cls, name, mortal(reaper, getattr(cls, name)))
    sick = {0: 3}

    def answer(got: Got) -> Answer:
        sick[0] = (sick[0] * 48_271) % 2_147_483_647
        return 500 if sick[0] % 10 == 0 else 200

    post.receiver.answers = answer
    deaths = 0
    for _ in range(4):
        done = False
        await post.business.record(*({"pass_external_id": f"p{n % 30}"} for n in range(40)))
        while not done:
            with contextlib.suppress(Killed):
                await post.business.settle()
                done = True
            deaths += not done
        for _ in range(3):
            try:
                await post.round(5_000, worker=Worker.on(post.business.ctx.resources))
            except Killed:
                deaths += 1
                post.now_ms += LEASE_MS
    post.receiver.answers = lambda got: 200
    while True:
        post.now_ms += LEASE_MS
        with contextlib.suppress(Killed):
            await post.round(72 * 3_600_000, worker=Worker.on(post.business.ctx.resources))
            if "at" not in await post.lanes():
                break
    feed = await post.business.feed()
    taken = Counter(post.receiver.ids)
    assert set(taken) == {activity.id for activity in feed}
    assert sum(reaper.deaths.values()) >= 5
    again = Counter(partition_of(activity.pass_id) for activity in feed for _ in range(taken[activity.id] - 1))
    assert max(again.values(), default=0) <= sum(reaper.deaths.values())
    assert {each.status for each in await post.deliveries()} == {WebhookDeliveryStatus.SUCCEEDED}
    assert len(await post.deliveries()) == len(feed)


async def test_a_worker_that_was_taken_for_dead_repeats_one_message_a_lane_and_loses_its_hold(post: Post) -> None:
    feed = await post.record(200, 60)
    lanes = len({partition_of(activity.pass_id) for activity in feed})
    post.receiver.opened.clear()
    workers = [Worker.on(post.business.ctx.resources) for _ in range(3)]

    async def begun(worker: Worker, got: int) -> asyncio.Task[None]:
        run = asyncio.create_task(post.round(worker=worker))
        async with asyncio.timeout(10):
            while len(post.receiver.got) < got:
                await asyncio.sleep(0.005)
        return run

    slow = await begun(workers[0], lanes)
    # As long as it is held, nobody else has anything to do there.
    await post.round(LEASE_MS - 1, worker=workers[1])
    assert len(post.receiver.got) == lanes
    post.now_ms += 1
    quick = await begun(workers[2], 2 * lanes)
    post.receiver.opened.set()
    await asyncio.gather(slow, quick)
    taken = Counter(post.receiver.ids)
    assert set(taken) == {activity.id for activity in feed}
    assert sum(taken.values()) == len(feed) + lanes
    assert in_order(list(dict.fromkeys(post.receiver.ids)), feed)
    assert len(await post.deliveries()) == len(feed)


async def test_two_workers_that_race_for_an_endpoint_send_nothing_twice(post: Post) -> None:
    feed = await post.record(60, 20)
    await asyncio.gather(*(post.round(worker=Worker.on(post.business.ctx.resources)) for _ in range(4)))
    assert sorted(post.receiver.ids) == sorted(activity.id for activity in feed)


async def test_what_is_published_as_a_run_comes_to_its_end_is_not_left_lying(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the log was read, and more comes before that is noted: no wake-up is needed for it, and no sweep."""
    await post.record(1, 1)
    real, more = EndpointLeases.go_idle, [1, 1]

    async def rest(*args: Any) -> bool:
        if more:
            await post.record(more.pop(), 1)
        return await real(*args)

    monkeypatch.setattr(EndpointLeases, "go_idle", rest)
    await post.round()
    assert post.receiver.ids == [activity.id for activity in await post.business.feed()]
    assert len(post.receiver.ids) == 4


@pytest.mark.parametrize(("cls", "step"), [(PartitionQueries, "announce_work"), (PublishQueries, "published")])
async def test_who_publishes_and_dies_leaves_the_word_of_it_or_what_makes_another_say_it(
    post: Post, monkeypatch: pytest.MonkeyPatch, cls: type, step: str
) -> None:
    await post.round()

    async def dies(*args: Any) -> None:
        raise Killed(step)

    with monkeypatch.context() as patch:
        patch.setattr(cls, step, dies)
        with pytest.raises(Killed):
            await post.record(1, 1)
    await post.business.settle()
    await post.round()
    assert post.receiver.ids == [activity.id for activity in await post.business.feed()]
