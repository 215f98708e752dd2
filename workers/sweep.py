"""Sweep: looks after every stage once a second, inside each worker process, so that a lost wake-up costs little.

Due instants are not waited for by polling: each sweep looks a little ahead and sets a timer for the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from app.clock import SystemClock, system_ms
from app.domain.errors import Unavailable
from app.domain.ids import slot_of
from app.domain.values.instants import to_ms
from app.flow import SLOT_RANGES, range_of
from app.store.operations.heartbeats import Heartbeats
from app.store.stages.endpoint_leases import WaitingEndpoint
from workers.stages.deliver import begin
from workers.stages.due import next_due_ms

from .worker import Worker

log = logging.getLogger(__name__)

TIMER_HORIZON_MS = 1_500
MAX_JOBS_STARTED = 4
HEARTBEAT_INTERVAL_SECONDS = 5.0
MAX_HEARTBEATS_MISSED = 4
"""A worker is taken for dead when so many signs of life in a row did not come."""

Run = Callable[[Worker, str], Awaitable[None]]


class Sweep:
    """The heartbeat of one worker process."""

    def __init__(self, worker: Worker, stages: Mapping[str, Run]) -> None:
        self._worker = worker
        self._stages = stages
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._runs: set[asyncio.Task[None]] = set()
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._heartbeats = Heartbeats(worker.resources.db)
        self._next_beat = 0.0

    async def run(self, stopping: asyncio.Event) -> None:
        """Sweeps until told to stop, then waits for what is under way. No stage waits for another."""
        looks = (
            self.beats,
            self.folds,
            self.dues,
            self.backfills,
            self.publishes,
            self.deliveries,
            self.merges,
            self.erasures,
            self.jobs,
        )
        await asyncio.gather(*(self._again_and_again(look, stopping) for look in looks))
        for timer in self._timers.values():
            timer.cancel()
        for job in list(self._jobs.values()):
            job.cancel()
        await asyncio.gather(*self._runs)
        await asyncio.gather(*self._jobs.values(), return_exceptions=True)
        with contextlib.suppress(Unavailable):
            await self._heartbeats.gone(self._worker.id)

    async def beats(self) -> None:
        """Gives a sign of life now and then."""
        elapsed = asyncio.get_running_loop().time()
        if elapsed >= self._next_beat:
            every = max(HEARTBEAT_INTERVAL_SECONDS, self._worker.resources.settings.sweep_seconds)
            now = await SystemClock().now()
            await self._heartbeats.beat(self._worker.id, now, now + timedelta(seconds=MAX_HEARTBEATS_MISSED * every))
            self._next_beat = elapsed + every

    async def folds(self) -> None:
        """Folds whatever is pending."""
        await asyncio.gather(*(self._stages["fold"](self._worker, key) for key in SLOT_RANGES))

    async def dues(self) -> None:
        """Walks whatever is due, and sets a timer for what soon will be."""
        await asyncio.gather(*(self._stages["due"](self._worker, key) for key in SLOT_RANGES))
        await self._look_ahead()

    async def backfills(self) -> None:
        """Walks whatever lags behind the definitions."""
        for workspace_id in await self._worker.fold_queries.workspaces_behind():
            await self._stages["backfill"](self._worker, workspace_id)

    async def publishes(self) -> None:
        """Publishes whatever waits in an outbox."""
        for workspace_id in await self._worker.publish_queries.waiting_workspaces():
            await self._stages["publish"](self._worker, workspace_id)

    async def deliveries(self) -> None:
        """Begins a run at every webhook endpoint with something to do, and sets a timer for those that soon will have."""
        for woken in self._worker.dispatchers.values():
            woken.set()
        now_ms = system_ms()
        for waiting in await self._worker.endpoint_leases.waiting(now_ms + TIMER_HORIZON_MS):
            key, ahead_ms = waiting.endpoint_id, waiting.begins_ms - now_ms
            if ahead_ms <= 0:
                begin(self._worker, waiting)
            elif key not in self._timers:
                self._timers[key] = asyncio.get_running_loop().call_later(ahead_ms / 1000 + 0.001, self._begin, waiting)

    async def merges(self) -> None:
        """Moves whatever is left of merged passes."""
        for pass_id in await self._worker.merge_queries.waiting():
            await self._stages["merge"](self._worker, pass_id)

    async def erasures(self) -> None:
        """Empties whatever is left of erased passes."""
        for pass_id in await self._worker.erase_queries.waiting():
            await self._stages["erase"](self._worker, pass_id)

    async def jobs(self) -> None:
        """Takes up the jobs that nobody carries, and does not wait for them: they are long, and stopped when all stops."""
        for job_id in await self._worker.job_leases.open(system_ms(), MAX_JOBS_STARTED):
            if job_id not in self._jobs and len(self._jobs) < MAX_JOBS_STARTED:
                self._jobs[job_id] = asyncio.create_task(self._job(job_id))

    async def _again_and_again(self, look: Callable[[], Awaitable[None]], stopping: asyncio.Event) -> None:
        seconds = self._worker.resources.settings.sweep_seconds
        while not stopping.is_set():
            try:
                await look()
            except Unavailable as error:
                log.warning("the sweep is put off: %s", error)
            except Exception:
                # What is looked after here would never be looked after again.
                log.exception("the sweep's look at %s failed", look.__name__)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), seconds)

    async def _look_ahead(self) -> None:
        now_ms = to_ms(await self._worker.resources.clock.now())
        loop = asyncio.get_running_loop()
        for pass_id, due_ms in await next_due_ms(self._worker, now_ms, TIMER_HORIZON_MS):
            key = range_of(slot_of(pass_id))
            if key not in self._timers:
                delay = (due_ms - now_ms) / 1000 + 0.001
                self._timers[key] = loop.call_later(delay, self._fire, key)

    def _begin(self, waiting: WaitingEndpoint) -> None:
        self._timers.pop(waiting.endpoint_id, None)
        begin(self._worker, waiting)

    def _fire(self, key: str) -> None:
        self._timers.pop(key, None)
        task = asyncio.get_running_loop().create_task(self._due(key))
        self._runs.add(task)
        task.add_done_callback(self._runs.discard)

    async def _job(self, job_id: str) -> None:
        try:
            await self._stages["jobs"](self._worker, job_id)
        finally:
            del self._jobs[job_id]

    async def _due(self, key: str) -> None:
        await self._stages["due"](self._worker, key)
        with contextlib.suppress(Unavailable):
            await self._look_ahead()
