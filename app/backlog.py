"""The figures that take questions to the store and to Redis: asked when Prometheus asks, and then good for a while."""

from __future__ import annotations

import asyncio
import math
import time
from datetime import datetime

from app.clock import SystemClock
from app.domain.errors import Unavailable
from app.domain.values.instants import to_ms
from app.resources import Resources
from app.store.operations.backlog import Backlog, BacklogQueries
from app.store.operations.heartbeats import Heartbeats
from app.telemetry import metrics

GAUGES_TTL_SECONDS = 5.0
MAX_STORE_SHARE = 20
"""Figures are good for so many times as long as asking for them took: of a slow store, they take a twentieth at most."""
QUERY_TIMEOUT_SECONDS = 10.0

_FROM_STORE = (
    metrics.PENDING, metrics.FOLD_LAG, metrics.DUE, metrics.OUTBOXES, metrics.PARKED, metrics.BACKFILLS, metrics.JOBS,
    metrics.WORKERS, metrics.CIRCUITS_OPEN, metrics.DELIVERY_LAG, metrics.DEFERRED,
)  # fmt: skip


class BacklogGauges:
    """Keeps the backlog's gauges fresh. One a process: whoever comes while the figures are asked for waits for them."""

    def __init__(self, resources: Resources, *, good_seconds: float = GAUGES_TTL_SECONDS) -> None:
        self._resources = resources
        self._backlogs = BacklogQueries(resources.db)
        self._heartbeats = Heartbeats(resources.db)
        self._good_seconds = good_seconds
        self._good_until = -math.inf
        self._asking = asyncio.Lock()

    async def refresh(self) -> None:
        """Returns when the gauges are no older than a few seconds; those that could not be learnt are NaN. Never raises."""
        async with self._asking:
            started = time.monotonic()
            if started < self._good_until:
                return
            await asyncio.gather(self._ask_store(), self._ask_redis())
            took = time.monotonic() - started
            self._good_until = started + took + max(self._good_seconds, MAX_STORE_SHARE * took)

    async def _ask_store(self) -> None:
        clock = self._resources.clock
        try:
            async with asyncio.timeout(QUERY_TIMEOUT_SECONDS):
                found = await self._backlogs.measured(to_ms(await clock.elapsed()))
                now = await clock.now()
                metrics.WORKERS.set(await self._heartbeats.alive(await SystemClock().now()))
        except (Unavailable, TimeoutError):
            metrics.BACKLOG_UP.set(0)
            for gauge in _FROM_STORE:
                gauge.set(math.nan)
        else:
            metrics.BACKLOG_UP.set(1)
            _show(found, now)

    async def _ask_redis(self) -> None:
        queued = await self._resources.bus.queued()
        for queue in ("flow", "jobs"):
            metrics.REDIS_QUEUE.labels(queue).set(queued.get(queue, math.nan))


def _show(found: Backlog, now: datetime) -> None:
    metrics.PENDING.set(found.pending)
    waited = 0.0 if found.oldest_at is None else (now - found.oldest_at).total_seconds()
    metrics.FOLD_LAG.set(max(0.0, waited))
    metrics.DUE.set(found.due)
    metrics.OUTBOXES.set(found.unpublished)
    metrics.PARKED.set(found.parked)
    metrics.BACKFILLS.set(found.backfills)
    metrics.JOBS.set(found.jobs)
    metrics.CIRCUITS_OPEN.set(found.circuits_open)
    metrics.DELIVERY_LAG.set(found.delivery_lag)
    metrics.DEFERRED.set(found.deferred)
