"""Wake-ups and messages over Redis, also while Redis is down, hung or empty."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from arq.connections import ArqRedis
from arq.typing import WorkerCoroutine
from arq.worker import Worker, func

from app.bus import REDIS_TIMEOUT_SECONDS, Bus, decode, encode, flow_queue, jobs_queue
from app.resources import Resources, open_redis
from tests.patience import PATIENCE_SECONDS
from tests.servers import Servers, running_servers


@pytest.fixture(scope="module")
async def own(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    """Yield servers whose Redis the tests of this file may kill and stop."""
    async with running_servers(tmp_path_factory.mktemp("bus")) as running:
        yield running


async def run_jobs(resources: Resources, queue: str) -> list[tuple[str, str]]:
    """Run an arq worker until the queue is empty, and return (stage, key) of its jobs in order."""
    jobs: list[tuple[str, str]] = []

    def stage(name: str) -> Any:
        async def run(_: dict[str, Any], key: str) -> None:
            jobs.append((name, key))

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
    return jobs


async def next_message(listener: AsyncIterator[Any]) -> Any:
    """Return the next message, or fail after `PATIENCE_SECONDS`."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await anext(listener)


async def test_wake_up_reaches_the_stage_with_its_key(resources: Resources) -> None:
    resources.bus.wake("fold", 7, 8)
    resources.bus.wake("publish", "ws_1")
    await resources.bus.aclose()
    database = resources.settings.database
    jobs = await run_jobs(resources, flow_queue(database))
    assert sorted(jobs) == [("fold", "7"), ("fold", "8"), ("publish", "ws_1")]


async def test_stage_is_woken_once_for_repeated_wake_ups(resources: Resources) -> None:
    for _ in range(3):
        bus = Bus(resources.redis, resources.settings.database)
        bus.wake("fold", 7)
        await bus.aclose()
    # The ids change every two seconds, and such a change may lie between the three wake-ups.
    assert 1 <= len(await run_jobs(resources, flow_queue(resources.settings.database))) <= 2


async def test_long_stages_do_not_delay_short_ones(resources: Resources) -> None:
    resources.bus.wake("jobs", "job_1")
    await resources.bus.aclose()
    database = resources.settings.database
    assert await run_jobs(resources, flow_queue(database)) == []
    assert await run_jobs(resources, jobs_queue(database)) == [("jobs", "job_1")]


async def test_wake_ups_without_a_worker_expire(resources: Resources) -> None:
    queue = flow_queue(resources.settings.database)
    long_ago_ms = int(time.time() * 1000) - 3_600_000
    await resources.redis.zadd(queue, {f"fold:{slot}:0": long_ago_ms for slot in range(50)})
    resources.bus.wake("fold", 1)
    await resources.bus.aclose()
    assert await resources.redis.zcard(queue) == 1


async def test_listener_gets_none_at_connection_then_each_message(resources: Resources) -> None:
    listener = resources.bus.listen("log:ws_1")
    assert await next_message(listener) is None
    await resources.bus.publish("log:ws_2", "not for us")
    await resources.bus.publish("log:ws_1", {"pos": 4})
    assert await next_message(listener) == {"pos": 4}
    await listener.aclose()  # type: ignore[attr-defined]  # an async generator


async def test_listener_gets_none_when_redis_is_back(own: Servers) -> None:
    redis = open_redis(own.settings)
    bus = Bus(redis, "punchcard")
    listener = bus.listen("log")
    assert await next_message(listener) is None
    await own.redis.kill()
    reconnected = asyncio.create_task(next_message(listener))
    await own.redis.start()
    assert await reconnected is None
    await bus.publish("log", "after")
    assert await next_message(listener) == "after"
    await listener.aclose()  # type: ignore[attr-defined]  # an async generator
    await redis.aclose()


async def test_killed_redis_loses_wake_ups_and_nothing_else(own: Servers) -> None:
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


async def test_hung_redis_delays_the_caller_for_less_than_a_second(
    own: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call to Redis has a limit of time, and all limits together are less than a second."""
    limits: list[float] = []

    def timeout(seconds: float) -> asyncio.Timeout:
        limits.append(seconds)
        return asyncio.timeout(seconds)

    monkeypatch.setattr("app.bus.asyncio", SimpleNamespace(**vars(asyncio) | {"timeout": timeout}))
    monkeypatch.setattr("app.bus.REDIS_TIMEOUT_SECONDS", REDIS_TIMEOUT_SECONDS)
    redis = open_redis(own.settings)
    await redis.ping()
    bus = Bus(redis, "punchcard")
    own.redis.signal(signal.SIGSTOP)
    try:
        bus.wake("fold", *range(64))
        await bus.publish("log", "lost")
        await bus.aclose()
        assert len(limits) == 2
        assert sum(limits) < 1
    finally:
        own.redis.signal(signal.SIGCONT)
    await redis.aclose()


async def test_closed_bus_ignores_wake_ups(tmp_path: Path, resources: Resources) -> None:
    await resources.bus.aclose()
    resources.bus.wake("fold", 1)
    assert await resources.redis.zcard(flow_queue(resources.settings.database)) == 0


async def test_connection_closed_while_opening_counts_as_redis_down(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def closed(*_: object) -> None:
        # uvloop raises this error where asyncio would raise a ConnectionError.
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    bus = Bus(open_redis(resources.settings), resources.settings.database)
    monkeypatch.setattr("redis.asyncio.connection.Connection.connect", closed)
    assert await bus.queued() == {}
    await bus.publish("feed", {})
    bus.wake("fold", 1)
    await bus.aclose()
