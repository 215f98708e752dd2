"""`python -m workers.main`: one worker process. It runs stages on wake-ups from arq, and by a sweep every second.

The sweep finds the work of lost wake-ups. arq retries no job: the next sweep runs a failed stage again (`failures.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from arq.connections import ArqRedis, RedisSettings
from arq.worker import Worker as ArqWorker
from arq.worker import func
from redis.asyncio import ConnectionPool

from app.bus import LONG_STAGES, REDIS_ERRORS, decode, flow_queue, jobs_queue
from app.clock import system_ms
from app.config.settings import ConfigError, Settings
from app.domain.errors import StoreRefused, Unavailable
from app.flow import SLOT_RANGES
from app.resources import open_resources
from app.store.operations.indexes import SlotsChanged, check_slots
from app.store.operations.pass_names import NotNamed, require_names
from app.store.operations.schema_version import SchemaTooNew, require_writable
from app.store.operations.upgrades import Upgrades
from app.telemetry import tracing
from app.telemetry.logs import configure
from workers.stages.backfill import backfill
from workers.stages.deliver import deliver
from workers.stages.due import due
from workers.stages.erase import erase
from workers.stages.fold import fold
from workers.stages.forget import forget
from workers.stages.merge import merge
from workers.stages.publish import publish
from workers.stages.react import react
from workers.stages.rerun import rerun
from workers.stages.restock import restock
from workers.stages.retain import retain
from workers.stages.run_job import jobs
from workers.stages.schedule import schedule
from workers.stages.seal import seal
from workers.stages.seal_passes import seal_passes
from workers.stages.send import send

from . import wakeups
from .failures import RedisFailureLog, log_failures, log_timeout
from .metrics import serve_metrics
from .sweep import MAX_JOBS_STARTED, STOP_TIMEOUT_SECONDS, Sweep
from .worker import Worker

log = logging.getLogger("punchcard.worker")

STAGES: dict[str, Callable[[Worker, str], Awaitable[None]]] = {
    "fold": fold,
    "due": due,
    "schedule": schedule,
    "backfill": backfill,
    "rerun": rerun,
    "forget": forget,
    "restock": restock,
    "retain": retain,
    "seal_passes": seal_passes,
    "seal": seal,
    "publish": publish,
    "deliver": deliver,
    "react": react,
    "send": send,
    "merge": merge,
    "erase": erase,
    "jobs": jobs,
}
JOB_TIMEOUT_SECONDS = 45
"""The time after which arq cancels a run of a stage, and logs a traceback."""
STAGE_TIMEOUT_SECONDS = JOB_TIMEOUT_SECONDS - 1.0
"""The time after which a worker itself cancels a run that a wake-up has started, and says so in one line."""
ARENA_MAX = -8
"""M_ARENA_MAX of glibc's malloc.h. Other C libraries do not have this option."""
POLL_INTERVAL_SECONDS = 0.01
"""Interval at which arq reads the queue of the flow. An event passes this queue twice before it is published."""
JOBS_POLL_INTERVAL_SECONDS = 0.2
"""Interval at which arq reads the queue of long jobs, where a short delay does not matter."""
REDIS_TIMEOUT_SECONDS = 10.0


GUARDED = {stage: log_failures(stage, run) for stage, run in STAGES.items()}
"""The stages under the failure policy of `failures.py`."""


def _encode(value: Any) -> bytes:
    """Return the value as JSON. Other objects, such as the exception of a cancelled job, become their text."""
    return orjson.dumps(value, default=repr)


def _arq_function(stage: str) -> Any:
    """Return the arq function of a stage. It never retries, and keeps no result."""

    async def job(ctx: dict[str, Any], key: str, trace: str | None = None) -> None:
        try:
            async with asyncio.timeout(STAGE_TIMEOUT_SECONDS) as limit:
                await wakeups.take(ctx["worker"], GUARDED, stage, key, trace)
        except TimeoutError:
            if not limit.expired():
                raise
            log_timeout(stage, key, STAGE_TIMEOUT_SECONDS)

    return func(job, name=stage, keep_result=0, timeout=JOB_TIMEOUT_SECONDS, max_tries=1)


def arq_worker(settings: Settings, worker: Worker, *, long: bool) -> ArqWorker:
    """Return the arq worker of the queue of the flow or, with `long`, of jobs. So an import never delays a fold."""
    queue = (jobs_queue if long else flow_queue)(settings.database)
    pool = ArqRedis(
        # Own connections with a longer timeout than those of the bus: a busy event loop must not look like a lost
        # Redis.
        connection_pool=ConnectionPool.from_url(
            worker.resources.settings.redis_url or "",
            socket_timeout=REDIS_TIMEOUT_SECONDS,
            socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
        ),
        job_serializer=_encode,
        job_deserializer=decode,
        default_queue_name=queue,
    )
    return ArqWorker(
        functions=[_arq_function(stage) for stage in STAGES if (stage in LONG_STAGES) == long],
        queue_name=queue,
        redis_pool=pool,
        redis_settings=RedisSettings(),
        ctx={"worker": worker},
        job_serializer=_encode,
        job_deserializer=decode,
        handle_signals=False,
        keep_result=0,
        job_timeout=JOB_TIMEOUT_SECONDS,
        max_jobs=MAX_JOBS_STARTED if long else len(SLOT_RANGES) * 4,
        poll_delay=JOBS_POLL_INTERVAL_SECONDS if long else POLL_INTERVAL_SECONDS,
        health_check_interval=5,
        health_check_key=f"{queue}:health:{os.getpid()}",
        allow_abort_jobs=False,
    )


async def run(settings: Settings, stopping: asyncio.Event) -> None:
    """Run a worker until `stopping` is set. While Redis is unavailable, the sweep continues.

    Raises SlotsChanged for a database that another number of slots was made for. Raises SchemaTooNew if a newer version
    excludes this one from writing, also while the worker runs. Raises Unavailable.
    """
    async with open_resources(settings) as resources:
        await check_slots(resources.db)
        await require_writable(resources.db)
        await require_names(resources.db)
        restated = await Upgrades(resources.db, resources.in_chunk).restate_segments(await resources.clock.now())
        await Upgrades(resources.db, resources.in_chunk).start_reactions(system_ms())
        await Upgrades(resources.db, resources.in_chunk, is_sharded=resources.is_sharded).build_histories()
        if resources.is_embedded:
            # One version at a time serves an embedded store. Elsewhere only `punchcard migrate` waits until processes of
            # earlier versions, which mark nothing, have stopped.
            await Upgrades(resources.db, resources.in_chunk).flag_dirty_heads()
            await Upgrades(resources.db, resources.in_chunk).mark_hours()
        await Upgrades(resources.db, resources.in_chunk).renew_time_zones(await resources.clock.now())
        if restated:
            log.info("%d segments have a new version, because their conditions mean something else now", restated)
        worker = Worker.on(resources)
        async with serve_metrics(worker):
            sweep = Sweep(worker, GUARDED)
            sweeping = asyncio.create_task(sweep.run(stopping))
            failures = RedisFailureLog()
            listeners = {asyncio.create_task(_listen(settings, worker, failures, long=long)) for long in (False, True)}
            listeners.add(asyncio.create_task(wakeups.listen(worker, GUARDED)))
            log.info("worker %d is ready", os.getpid())
            await stopping.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
                    await worker.stop()
            while listeners:
                # redis-py swallows a cancellation that comes while it connects, so one may not be enough.
                for task in listeners:
                    task.cancel()
                _, listeners = await asyncio.wait(listeners, timeout=0.1)
            await sweeping
            if sweep.refusal is not None:
                raise sweep.refusal
        log.info("worker %d has stopped", os.getpid())


async def _listen(settings: Settings, worker: Worker, failures: RedisFailureLog, *, long: bool) -> None:
    """Run arq on one queue, and restart it whenever the connection to Redis fails."""
    while True:
        arq = arq_worker(settings, worker, long=long)
        try:
            await arq.async_run()
        except REDIS_ERRORS as error:
            failures.note(error)
            await asyncio.sleep(0.5)
        finally:
            with contextlib.suppress(*REDIS_ERRORS):
                await arq.close()


def main() -> None:
    """Run a worker with the settings of the environment until SIGINT or SIGTERM stops it.

    Exits with a message and status 1 if the settings are invalid, or if the store does not answer at the start.
    """
    try:
        settings = Settings.from_env(os.environ)
        configure(settings.log_level, settings.log_format)
        tracing.start(settings.otlp_endpoint, "punchcard-worker")
        _limit_malloc_arenas()
        _run_until_signalled(settings)
    except Unavailable as error:
        sys.exit(f"Error: {error.describe()}")
    except (ConfigError, NotNamed, SchemaTooNew, SlotsChanged, StoreRefused) as error:
        sys.exit(f"Error: {error}")
    finally:
        tracing.stop()


def _limit_malloc_arenas() -> None:
    """Limit malloc to two arenas.

    With one arena for each thread of the driver, the process held a sixth more memory without using it.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(ARENA_MAX, 2)


def _run_until_signalled(settings: Settings) -> None:

    async def until_signalled() -> None:
        stopping = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        await run(settings, stopping)

    asyncio.run(until_signalled())


if __name__ == "__main__":
    main()
