"""Crashes and races of delivering workers: no message is lost, and at most one for each partition is repeated."""

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
from tests.crashes import Crash, CrashInjector
from tests.patience import wait_until
from tests.receiver import Answer, ReceivedRequest
from tests.workers.stages.test_deliver import DeliveryHarness, harness, is_in_order, receiver
from workers.delivery.dispatcher import Dispatcher
from workers.worker import Worker

__all__ = ["harness", "receiver"]
STEPS = (
    (EndpointLeases, ("claim", "save_progress", "go_idle")),
    (PartitionQueries, ("announce_work",)),
    (DeliveryQueries, ("insert", "save", "deferred")),
)


def with_crashes(injector: CrashInjector, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def step(*args: Any, **options: Any) -> Any:
        return await injector.with_crashes(method.__name__, method)(*args, **options)

    return step


@pytest.mark.parametrize("seed", range(2))
async def test_crashes_at_any_step_lose_no_message(
    harness: DeliveryHarness, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """The workers that publish crash too, and some messages fail. It goes on until enough crashes have happened."""
    injector = CrashInjector(seed, 0.08)
    for cls, names in STEPS:
        for name in names:
            monkeypatch.setattr(cls, name, with_crashes(injector, getattr(cls, name)))
    random_number = 3

    def fail_sometimes(_: ReceivedRequest) -> Answer:
        nonlocal random_number
        random_number = (random_number * 48_271) % 2_147_483_647
        return 500 if random_number % 10 == 0 else 200

    harness.receiver.respond = fail_sometimes
    rounds = 0
    while rounds < 4 or sum(injector.crashes.values()) < 5:
        rounds += 1
        is_done = False
        await harness.business.record(*({"pass_external_id": f"p{n % 30}"} for n in range(40)))
        while not is_done:
            with contextlib.suppress(Crash):
                await harness.business.run_worker()
                is_done = True
        for _ in range(3):
            try:
                await harness.deliver(5_000, worker=Worker.on(harness.business.ctx.resources))
            except Crash:
                harness.now_ms += LEASE_MS
    harness.receiver.respond = lambda _: 200
    while True:
        harness.now_ms += LEASE_MS
        with contextlib.suppress(Crash):
            await harness.deliver(72 * 3_600_000, worker=Worker.on(harness.business.ctx.resources))
            if "at" not in await harness.read_progress():
                break
    feed = await harness.business.read_log()
    accepted = Counter(harness.receiver.ids)
    assert set(accepted) == {activity.id for activity in feed}
    repeated = Counter(partition_of(activity.pass_id) for activity in feed for _ in range(accepted[activity.id] - 1))
    assert max(repeated.values(), default=0) <= sum(injector.crashes.values())
    assert {each.status for each in await harness.read_deliveries()} == {WebhookDeliveryStatus.SUCCEEDED}
    assert len(await harness.read_deliveries()) == len(feed)


async def test_worker_whose_lease_ended_repeats_one_message_for_each_partition(
    harness: DeliveryHarness,
) -> None:
    feed = await harness.record(200, 60)
    partitions = len({partition_of(activity.pass_id) for activity in feed})
    harness.receiver.may_respond.clear()
    workers = [Worker.on(harness.business.ctx.resources) for _ in range(3)]

    async def start_delivery(worker: Worker, request_count: int) -> asyncio.Task[None]:
        run = asyncio.create_task(harness.deliver(worker=worker))
        await wait_until(lambda: len(harness.receiver.requests) >= request_count, pause_seconds=0.005)
        return run

    slow = await start_delivery(workers[0], partitions)
    # Until the lease ends, no other worker finds anything to do at this endpoint.
    await harness.deliver(LEASE_MS - 1, worker=workers[1])
    assert len(harness.receiver.requests) == partitions
    harness.now_ms += 1
    quick = await start_delivery(workers[2], 2 * partitions)
    harness.receiver.may_respond.set()
    await asyncio.gather(slow, quick)
    accepted = Counter(harness.receiver.ids)
    assert set(accepted) == {activity.id for activity in feed}
    assert sum(accepted.values()) == len(feed) + partitions
    assert is_in_order(list(dict.fromkeys(harness.receiver.ids)), feed)
    assert len(await harness.read_deliveries()) == len(feed)


async def test_concurrent_workers_send_no_message_twice(harness: DeliveryHarness) -> None:
    feed = await harness.record(60, 20)
    await asyncio.gather(*(harness.deliver(worker=Worker.on(harness.business.ctx.resources)) for _ in range(4)))
    assert sorted(harness.receiver.ids) == sorted(activity.id for activity in feed)


async def test_activities_published_while_a_delivery_ends_are_delivered(
    harness: DeliveryHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker has read to the end of the log. Activities published before it goes idle need no wake-up."""
    await harness.record(1, 1)
    original, more = EndpointLeases.go_idle, [1, 1]

    async def record_then_go_idle(*args: Any) -> bool:
        if more:
            await harness.record(more.pop(), 1)
        return await original(*args)

    monkeypatch.setattr(EndpointLeases, "go_idle", record_then_go_idle)
    await harness.deliver()
    assert harness.receiver.ids == [activity.id for activity in await harness.business.read_log()]
    assert len(harness.receiver.ids) == 4


async def test_activities_published_during_a_slow_read_of_the_log_are_delivered(
    harness: DeliveryHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The read began before they were published. The run learns the new work token before it has the result of the read."""
    await harness.record(1, 1)
    read, save = Dispatcher._read_log, EndpointLeases.save_progress
    saved = asyncio.Event()

    async def read_slowly(dispatcher: Dispatcher, start: int) -> Any:
        found = await read(dispatcher, start)
        if not saved.is_set():
            await harness.record(1, 1)
            dispatcher._wake_up.set()
            await saved.wait()
        return found

    async def save_and_tell(*args: Any) -> Any:
        lease = await save(*args)
        saved.set()
        return lease

    monkeypatch.setattr(Dispatcher, "_read_log", read_slowly)
    monkeypatch.setattr(EndpointLeases, "save_progress", save_and_tell)
    await harness.deliver()
    feed = await harness.business.read_log()
    assert harness.receiver.ids == [activity.id for activity in feed]
    assert len(feed) == 3


@pytest.mark.parametrize(("cls", "step"), [(PartitionQueries, "announce_work"), (PublishQueries, "published")])
async def test_publisher_that_crashes_around_the_announcement_delays_no_message(
    harness: DeliveryHarness, monkeypatch: pytest.MonkeyPatch, cls: type, step: str
) -> None:
    await harness.deliver()

    async def crash(*_: Any, **__: Any) -> None:
        raise Crash(step)

    with monkeypatch.context() as crashing:
        crashing.setattr(cls, step, crash)
        with pytest.raises(Crash):
            await harness.record(1, 1)
    await harness.business.run_worker()
    await harness.deliver()
    assert harness.receiver.ids == [activity.id for activity in await harness.business.read_log()]
