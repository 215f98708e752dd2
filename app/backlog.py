"""Gauges of the backlog, which need queries to the store and to Redis. A scrape refreshes gauges that are too old."""

from __future__ import annotations

import asyncio
import math
import time
from datetime import datetime

from app.clock import SystemClock
from app.domain.errors import STORE_FAILURES
from app.domain.values.instants import to_ms
from app.resources import Resources
from app.store.operations.backlog import Backlog, BacklogQueries
from app.store.operations.heartbeats import Heartbeats
from app.telemetry import metrics

GAUGES_TTL_SECONDS = 5.0
MAX_STORE_SHARE = 20
"""Gauges stay valid at least this many times as long as their queries took.

The queries of the gauges therefore take at most a twentieth of the store's time.
"""
QUERY_TIMEOUT_SECONDS = 10.0

_FROM_STORE = (
    metrics.PENDING, metrics.FOLD_LAG, metrics.DUE, metrics.OUTBOXES, metrics.PARKED, metrics.BACKFILLS, metrics.JOBS,
    metrics.WORKERS, metrics.CIRCUITS_OPEN, metrics.DELIVERY_LAG, metrics.DEFERRED, metrics.REACT_LAG,
    metrics.PARKED_REACTIONS,
)  # fmt: skip


class BacklogGauges:
    """Gauges of the backlog, one object for each process. Concurrent scrapes share one refresh."""

    def __init__(self, resources: Resources, *, valid_seconds: float = GAUGES_TTL_SECONDS) -> None:
        self._resources = resources
        self._backlogs = BacklogQueries(resources.db)
        self._heartbeats = Heartbeats(resources.essential_db)
        self._valid_seconds = valid_seconds
        self._valid_until = -math.inf
        self._lock = asyncio.Lock()

    async def refresh(self) -> None:
        """Refresh the gauges unless they are a few seconds old at most. Never raises.

        A gauge whose query failed becomes NaN.
        """
        async with self._lock:
            started = time.monotonic()
            if started < self._valid_until:
                return
            await asyncio.gather(self._refresh_from_store(), self._refresh_from_redis())
            took_seconds = time.monotonic() - started
            self._valid_until = started + took_seconds + max(self._valid_seconds, MAX_STORE_SHARE * took_seconds)

    async def _refresh_from_store(self) -> None:
        clock = self._resources.clock
        try:
            async with asyncio.timeout(QUERY_TIMEOUT_SECONDS):
                found = await self._backlogs.measure(to_ms(await clock.elapsed()))
                now = await clock.now()
                metrics.WORKERS.set(await self._heartbeats.count_alive(await SystemClock().now()))
        except (*STORE_FAILURES, TimeoutError):
            metrics.BACKLOG_UP.set(0)
            for gauge in _FROM_STORE:
                gauge.set(math.nan)
        else:
            metrics.BACKLOG_UP.set(1)
            _set_gauges(found, now)

    async def _refresh_from_redis(self) -> None:
        queued = await self._resources.bus.queued()
        for queue in ("flow", "jobs"):
            metrics.REDIS_QUEUE.labels(queue).set(queued.get(queue, math.nan))


def _set_gauges(found: Backlog, now: datetime) -> None:
    metrics.PENDING.set(found.pending)
    lag_seconds = 0.0 if found.oldest_at is None else (now - found.oldest_at).total_seconds()
    metrics.FOLD_LAG.set(max(0.0, lag_seconds))
    metrics.DUE.set(found.due)
    metrics.OUTBOXES.set(found.unpublished)
    metrics.PARKED.set(found.parked)
    metrics.BACKFILLS.set(found.backfills)
    metrics.JOBS.set(found.jobs)
    metrics.CIRCUITS_OPEN.set(found.circuits_open)
    metrics.DELIVERY_LAG.set(found.delivery_lag)
    metrics.DEFERRED.set(found.deferred)
    metrics.REACT_LAG.set(found.react_lag)
    metrics.PARKED_REACTIONS.set(found.parked_reactions)
