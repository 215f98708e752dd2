from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from arq.connections import ArqRedis
from arq.typing import WorkerCoroutine
from arq.worker import Worker, func

from app.bus import Bus, decode, encode, flow_queue, jobs_queue
from app.resources import Resources, open_redis
from tests.servers import Servers, running_servers


@pytest.fixture(scope="module")
async def own(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    """Servers whose Redis the tests here may kill and stop."""
    async with running_servers(tmp_path_factory.mktemp("bus")) as running:
        yield running


async def woken(resources: Resources, queue: str) -> list[tuple[str, str]]:
    """What an arq worker that reads the queue until it is empty is told to do, in order."""
    done: list[tuple[str, str]] = []

    def stage(name: str) -> Any:
        async def run(_: dict[str, Any], key: str) -> None:
            done.append((name, key))

        return func(cast(WorkerCoroutine, run), name=name, keep_result=0)

    worker = Worker(
        [stage("fold"), stage("publish"), stage("jobs")],
        redis_pool=ArqRedis(resources.redis.connection_pool),
        queue_name=queue,
        burst=True,
        poll_delay=0.01,
        handle_signals=False,
        job_serializer=encode,
        job_deserializer=decode,
    )
    await worker.async_run()
    return done


async def next_message(listener: AsyncIterator[Any]) -> Any:
    async with asyncio.timeout(5):
        return await anext(listener)


async def test_a_wake_reaches_the_stage_with_its_key(resources: Resources) -> None:
    resources.bus.wake("fold", 7, 8)
    resources.bus.wake("publish", "ws_1")
    await resources.bus.aclose()
    database = resources.settings.database
    assert sorted(await woken(resources, flow_queue(database))) == [("fold", "7"), ("fold", "8"), ("publish", "ws_1")]


async def test_a_stage_already_woken_is_not_woken_twice(resources: Resources) -> None:
    for _ in range(3):
        bus = Bus(resources.redis, resources.settings.database)
        bus.wake("fold", 7)
        await bus.aclose()
    # The ids change every two seconds, and the three wakes may lie on both sides of such a change.
    assert 1 <= len(await woken(resources, flow_queue(resources.settings.database))) <= 2


async def test_long_stages_do_not_stand_before_the_flow(resources: Resources) -> None:
    resources.bus.wake("jobs", "job_1")
    await resources.bus.aclose()
    database = resources.settings.database
    assert await woken(resources, flow_queue(database)) == []
    assert await woken(resources, jobs_queue(database)) == [("jobs", "job_1")]


async def test_wake_ups_that_nobody_takes_do_not_pile_up(resources: Resources) -> None:
    queue = flow_queue(resources.settings.database)
    long_ago_ms = int(time.time() * 1000) - 3_600_000
    await resources.redis.zadd(queue, {f"fold:{slot}:0": long_ago_ms for slot in range(50)})
    resources.bus.wake("fold", 1)
    await resources.bus.aclose()
    assert await resources.redis.zcard(queue) == 1


async def test_a_listener_hears_of_its_connection_then_of_each_message(resources: Resources) -> None:
    listener = resources.bus.listen("log:ws_1")
    assert await next_message(listener) is None
    await resources.bus.publish("log:ws_2", "not for us")
    await resources.bus.publish("log:ws_1", {"pos": 4})
    assert await next_message(listener) == {"pos": 4}
    await listener.aclose()  # type: ignore[attr-defined]  # an async generator


async def test_a_listener_is_told_when_redis_came_back(own: Servers) -> None:
    redis = open_redis(own.settings)
    bus = Bus(redis, "punchcard")
    listener = bus.listen("log")
    assert await next_message(listener) is None
    await own.redis.kill()
    again = asyncio.create_task(next_message(listener))
    await own.redis.start()
    assert await again is None
    await bus.publish("log", "after")
    assert await next_message(listener) == "after"
    await listener.aclose()  # type: ignore[attr-defined]  # an async generator
    await redis.aclose()


async def test_a_dead_redis_loses_wake_ups_and_nothing_else(own: Servers) -> None:
    redis = open_redis(own.settings)
    bus = Bus(redis, "punchcard")
    await own.redis.kill()
    bus.wake("fold", 1)
    await bus.publish("log", "lost")
    await bus.aclose()
    await own.redis.start()
    bus = Bus(redis, "punchcard")
    bus.wake("fold", 2)
    await bus.aclose()
    assert [job.split(b":")[2] for job in await redis.zrange(flow_queue("punchcard"), 0, -1)] == [b"2"]
    await redis.aclose()


async def test_a_hung_redis_keeps_nobody_waiting(own: Servers) -> None:
    redis = open_redis(own.settings)
    await redis.ping()
    bus = Bus(redis, "punchcard")
    own.redis.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        bus.wake("fold", *range(64))
        await bus.publish("log", "lost")
        await bus.aclose()
        assert time.monotonic() - began < 1
    finally:
        own.redis.signal(signal.SIGCONT)
    await redis.aclose()


async def test_a_closed_bus_takes_no_more(tmp_path: Path, resources: Resources) -> None:
    await resources.bus.aclose()
    resources.bus.wake("fold", 1)
    assert await resources.redis.zcard(flow_queue(resources.settings.database)) == 0


async def test_a_connection_that_closes_while_it_opens_is_a_redis_that_is_away(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def closed(*_: object) -> None:
        # What uvloop says where asyncio would raise a ConnectionError.
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    bus = Bus(open_redis(resources.settings), resources.settings.database)
    monkeypatch.setattr("redis.asyncio.connection.Connection.connect", closed)
    assert await bus.queued() == {}
    await bus.publish("feed", {})
    bus.wake("fold", 1)
    await bus.aclose()
