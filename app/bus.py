"""Wake-ups for the stages and messages to subscribers, over Redis.

MongoDB holds the truth. A lost wake-up costs time until the next sweep; a lost message costs time until the
subscriber's next tick. No call raises if Redis is down, hangs or is empty. No call waits for Redis longer than a
quarter of a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import orjson
from arq.constants import job_key_prefix
from arq.jobs import serialize_job
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.telemetry import tracing

log = logging.getLogger(__name__)

LONG_STAGES: Final = frozenset({"jobs"})
BUCKET_SECONDS: Final = 2
"""Length of the bucket of time in a job id.

arq refuses the id of a job that is queued or running, so each id is used for one bucket only.
"""
CLAIM_TTL_SECONDS: Final = 60
"""How long a wake-up may stay queued. The sweep has already done the work of an older wake-up."""
EXPIRY_SECONDS: Final = 10 * CLAIM_TTL_SECONDS
"""How long Redis keeps a job. Longer than its wake-up stays queued, so that every queued id has its job."""
REDIS_TIMEOUT_SECONDS: Final = 0.25
DELETED_AT_ONCE: Final = 1_000
RECONNECT_DELAY_SECONDS: Final = 0.2

REDIS_ERRORS: Final = (RedisError, OSError, TimeoutError, RuntimeError)
"""Errors of a call to an unreachable Redis. uvloop raises RuntimeError if a connection closes while it opens."""

encode: Callable[[Any], bytes] = orjson.dumps
decode: Callable[[bytes], Any] = orjson.loads


def flow_queue(database: str) -> str:
    """Return the name of the arq queue of the short stages, such as fold, publish and deliver."""
    return f"{database}:flow"


def jobs_queue(database: str) -> str:
    """Return the name of the arq queue of the long stages. In a queue of their own, imports never delay a fold."""
    return f"{database}:jobs"


class Bus:
    """Sender of wake-ups and messages. All its Redis keys begin with the name of the database."""

    def __init__(self, redis: Redis, database: str) -> None:
        self._redis = redis
        self._database = database
        self._pending_wakes: dict[tuple[str, str], str | None] = {}
        self._sender: asyncio.Task[None] | None = None
        self._closed = False

    def wake(self, stage: str, *keys: str | int) -> None:
        """Wake a stage for each key, in the background, if Redis answers. Returns at once; safe to repeat.

        The job calls the worker's function of the stage's name with the key. If a trace is active, the job carries its
        `trace`. If several callers wake the same key at once, the job carries the trace of the first.
        """
        trace = tracing.traceparent()
        for key in keys:
            self._pending_wakes.setdefault((stage, str(key)), trace)
        if self._pending_wakes and self._sender is None and not self._closed:
            # The task also sends wake-ups of later requests, so it must not inherit the context of the first.
            self._sender = asyncio.create_task(self._send(), context=contextvars.Context())

    async def publish(self, topic: str, message: Any) -> None:
        """Send a JSON value to the current listeners of a topic. Returns when Redis has taken the value or failed."""
        with contextlib.suppress(*REDIS_ERRORS):
            async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                await self._redis.publish(self._channel(topic), encode(message))

    async def listen(self, topic: str) -> AsyncIterator[Any]:
        """Yield every message of a topic, and None at each connection or reconnection.

        Redis does not keep messages sent before a connection: after None, read the current state from the store. The
        iterator never ends, and never raises if Redis is unreachable. Close the iterator to stop listening.
        """
        while True:
            pubsub = self._redis.pubsub()
            try:
                await pubsub.subscribe(self._channel(topic))
                while True:
                    received = await pubsub.get_message(timeout=30)
                    if received is None:
                        continue
                    if received["type"] == "subscribe":
                        yield None
                    elif received["type"] == "message":
                        yield decode(received["data"])
            except REDIS_ERRORS as error:
                log.debug("subscription lost, reconnecting: topic=%s: %s", topic, error)
                await asyncio.sleep(RECONNECT_DELAY_SECONDS)
            finally:
                with contextlib.suppress(*REDIS_ERRORS):
                    await pubsub.aclose()  # type: ignore[no-untyped-call]  # redis 5.3 does not annotate it

    async def queued(self) -> dict[str, int]:
        """Return the number of wake-ups in each queue, by the queue's short name. Empty if Redis does not answer."""
        queues = {"flow": flow_queue(self._database), "jobs": jobs_queue(self._database)}
        with contextlib.suppress(*REDIS_ERRORS):
            async with asyncio.timeout(REDIS_TIMEOUT_SECONDS), self._redis.pipeline(transaction=False) as pipe:
                for queue in queues.values():
                    pipe.zcard(queue)
                return dict(zip(queues, await pipe.execute(), strict=True))
        return {}

    async def clear(self) -> int:
        """Delete all keys of this database in Redis and return their number. Raises the errors in REDIS_ERRORS."""
        count, escaped = 0, re.sub(r"([*?\[\]^\\])", r"\\\1", self._database)
        for pattern in (f"{escaped}:*", f"{job_key_prefix}{escaped}:*"):
            found = [key async for key in self._redis.scan_iter(match=pattern, count=1_000)]
            for start in range(0, len(found), DELETED_AT_ONCE):
                count += await self._redis.delete(*found[start : start + DELETED_AT_ONCE])
        return count

    async def aclose(self) -> None:
        """Send the wake-ups that are still waiting, then stop. Later wake-ups are ignored."""
        self._closed = True
        if self._sender is not None:
            await self._sender

    async def _send(self) -> None:
        try:
            while self._pending_wakes:
                batch, self._pending_wakes = self._pending_wakes, {}
                try:
                    async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                        await self._enqueue(batch)
                except REDIS_ERRORS as error:
                    log.debug("wake-ups lost, Redis unavailable: count=%d: %s", len(batch), error)
        finally:
            self._sender = None

    async def _enqueue(self, batch: Mapping[tuple[str, str], str | None]) -> None:
        # arq's enqueue_job takes three round trips for each job. It stores two keys; `nx` here replaces its checks.
        seconds = time.time()
        now_ms = int(seconds * 1000)
        bucket = int(seconds) // BUCKET_SECONDS
        oldest_ms = now_ms - CLAIM_TTL_SECONDS * 1000
        async with self._redis.pipeline(transaction=True) as pipe:
            for queue in {self._queue(stage) for stage, _ in batch}:
                pipe.zremrangebyscore(queue, "-inf", oldest_ms)
            for (stage, key), trace in batch.items():
                job_id = f"{stage}:{key}:{bucket}"
                job_options = {} if trace is None else {"trace": trace}
                job = serialize_job(stage, (key,), job_options, None, now_ms, serializer=encode)
                pipe.set(f"{job_key_prefix}{self._database}:{job_id}", job, px=EXPIRY_SECONDS * 1000, nx=True)
                pipe.zadd(self._queue(stage), {f"{self._database}:{job_id}": now_ms}, nx=True)
            await pipe.execute()

    def _queue(self, stage: str) -> str:
        return jobs_queue(self._database) if stage in LONG_STAGES else flow_queue(self._database)

    def _channel(self, topic: str) -> str:
        return f"{self._database}:topic:{topic}"
