"""Redis, as far as the product needs it: wake-ups for the stages, and messages to whoever listens.

Nothing here is the truth. A lost wake-up costs time until the next sweep, a lost message until the listener's next
tick; so nothing here raises for a Redis that is away, hung or empty, or waits for it longer than a quarter of a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
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
"""arq refuses the id of a job that is queued or running, so an id is only good for a short while."""
CLAIM_TTL_SECONDS: Final = 60
"""A wake-up that no worker took for so long has been made up for by the sweep."""
EXPIRY_SECONDS: Final = 10 * CLAIM_TTL_SECONDS
"""Longer than a wake-up is queued, so that a worker never finds an id in its queue without the job to it."""
REDIS_TIMEOUT_SECONDS: Final = 0.25
RECONNECT_DELAY_SECONDS: Final = 0.2

REDIS_ERRORS: Final = (RedisError, OSError, TimeoutError, RuntimeError)
"""What a call to Redis raises when it is away; RuntimeError is uvloop's, for a connection that closed while it opened."""

encode: Callable[[Any], bytes] = orjson.dumps
decode: Callable[[bytes], Any] = orjson.loads


def flow_queue(database: str) -> str:
    """The name of the arq queue of the short stages: fold, publish, deliver and their like."""
    return f"{database}:flow"


def jobs_queue(database: str) -> str:
    """The name of the arq queue of the long stages, so that an import never stands before a fold."""
    return f"{database}:jobs"


class Bus:
    """Wakes stages and carries messages, under the prefix of one database."""

    def __init__(self, redis: Redis, database: str) -> None:
        self._redis = redis
        self._database = database
        self._due: dict[tuple[str, str], str | None] = {}
        self._sender: asyncio.Task[None] | None = None
        self._closed = False

    def wake(self, stage: str, *keys: str | int) -> None:
        """Returns at once; the stage is woken for each key in the background, if Redis answers. Safe to repeat.

        The job is the worker's function of the stage's name, with the key as its argument, and the current trace, if
        any, as `trace`: that of the first who asked, where several ask for the same at once.
        """
        trace = tracing.traceparent()
        for key in keys:
            self._due.setdefault((stage, str(key)), trace)
        if self._due and self._sender is None and not self._closed:
            # In a context of its own: it goes on for others than the request that happened to start it.
            self._sender = asyncio.create_task(self._send(), context=contextvars.Context())

    async def publish(self, topic: str, message: Any) -> None:
        """Sends a JSON value to those who listen to the topic now; returns when Redis took it, or was given up on."""
        with contextlib.suppress(*REDIS_ERRORS):
            async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                await self._redis.publish(self._channel(topic), encode(message))

    async def listen(self, topic: str) -> AsyncIterator[Any]:
        """Every message of the topic, and None at each (re)connection: what was sent before it must be read elsewhere.

        Never ends and never raises for a Redis that is away; close the iterator to stop listening.
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
                log.debug("listening to %s: %s", topic, error)
                await asyncio.sleep(RECONNECT_DELAY_SECONDS)
            finally:
                with contextlib.suppress(*REDIS_ERRORS):
                    await pubsub.aclose()  # type: ignore[no-untyped-call]  # the library left it without annotations

    async def queued(self) -> dict[str, int]:
        """How many wake-ups wait in each queue, by its short name; empty where Redis does not answer."""
        queues = {"flow": flow_queue(self._database), "jobs": jobs_queue(self._database)}
        with contextlib.suppress(*REDIS_ERRORS):
            async with asyncio.timeout(REDIS_TIMEOUT_SECONDS), self._redis.pipeline(transaction=False) as pipe:
                for queue in queues.values():
                    pipe.zcard(queue)
                return dict(zip(queues, await pipe.execute(), strict=True))
        return {}

    async def aclose(self) -> None:
        """Sends the wake-ups that are still waiting, then stops; takes no more."""
        self._closed = True
        if self._sender is not None:
            await self._sender

    async def _send(self) -> None:
        try:
            while self._due:
                due, self._due = self._due, {}
                try:
                    async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                        await self._enqueue(due)
                except REDIS_ERRORS as error:
                    log.debug("%d wake-ups were lost: %s", len(due), error)
        finally:
            self._sender = None

    async def _enqueue(self, due: Mapping[tuple[str, str], str | None]) -> None:
        # arq's own enqueue_job takes three round trips a job. What it stores is two keys; its checks are `nx` here.
        seconds = time.time()
        now_ms = int(seconds * 1000)
        bucket = int(seconds) // BUCKET_SECONDS
        oldest_ms = now_ms - CLAIM_TTL_SECONDS * 1000
        async with self._redis.pipeline(transaction=True) as pipe:
            for queue in {self._queue(stage) for stage, _ in due}:
                pipe.zremrangebyscore(queue, "-inf", oldest_ms)
            for (stage, key), trace in due.items():
                job_id = f"{stage}:{key}:{bucket}"
                more = {} if trace is None else {"trace": trace}
                job = serialize_job(stage, (key,), more, None, now_ms, serializer=encode)
                pipe.set(f"{job_key_prefix}{self._database}:{job_id}", job, px=EXPIRY_SECONDS * 1000, nx=True)
                pipe.zadd(self._queue(stage), {f"{self._database}:{job_id}": now_ms}, nx=True)
            await pipe.execute()

    def _queue(self, stage: str) -> str:
        return jobs_queue(self._database) if stage in LONG_STAGES else flow_queue(self._database)

    def _channel(self, topic: str) -> str:
        return f"{self._database}:topic:{topic}"
