"""Sweep: a loop in each worker that finds the work of all stages once a second, so that a lost wake-up costs little.

Due instants do not wait for the next sweep: each sweep looks 1.5 s ahead and sets timers for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from app.clock import SystemClock, system_ms
from app.domain.errors import STORE_FAILURES
from app.flow import SLOT_RANGES
from app.store.operations.heartbeats import Heartbeats
from app.store.stages.endpoint_leases import WaitingEndpoint
from workers.stages.deliver import start_run

from .timers import TIMER_HORIZON_MS, DueTimers
from .worker import Worker

log = logging.getLogger(__name__)

MAX_JOBS_STARTED = 4
"""Jobs that one worker runs at the same time."""
MAX_RERUNS = 20
"""Messages of inbound hooks that one sweep runs again."""
HEARTBEAT_INTERVAL_SECONDS = 5.0
MAX_HEARTBEATS_MISSED = 4
"""Heartbeats in a row that a worker misses before it counts as crashed."""

Run = Callable[[Worker, str], Awaitable[None]]


class Sweep:
    """The sweep of one worker process: it runs the stages whose work it finds, sets timers, and sends heartbeats."""

    def __init__(self, worker: Worker, stages: Mapping[str, Run]) -> None:
        self._worker = worker
        self._stages = stages
        self.due_timers = DueTimers(worker, stages["due"])
        self._timers: dict[str, asyncio.TimerHandle] = {}
        """Timers of webhook endpoints, by endpoint id."""
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._job_workspaces: dict[str, str] = {}
        self._heartbeats = Heartbeats(worker.resources.essential_db)
        self._next_beat = 0.0

    async def run(self, stopping: asyncio.Event) -> None:
        """Sweep until `stopping` is set, then wait for the tasks under way. Each stage has a loop of its own."""
        steps = (
            self.beat,
            self.fold,
            self.advance_due,
            self.backfill,
            self.publish,
            self.deliver,
            self.merge,
            self.erase,
            self.rerun,
            self.forget,
            self.start_jobs,
        )
        await asyncio.gather(*(self._repeat(step, stopping) for step in steps))
        for timer in self._timers.values():
            timer.cancel()
        for job in list(self._jobs.values()):
            job.cancel()
        await self.due_timers.close()
        await asyncio.gather(*self._jobs.values(), return_exceptions=True)
        with contextlib.suppress(*STORE_FAILURES):
            await self._heartbeats.remove(self._worker.id)

    async def beat(self) -> None:
        """Send a heartbeat if one is due."""
        now_seconds = asyncio.get_running_loop().time()
        if now_seconds >= self._next_beat:
            interval = max(HEARTBEAT_INTERVAL_SECONDS, self._worker.resources.settings.sweep_seconds)
            now = await SystemClock().now()
            await self._heartbeats.beat(self._worker.id, now, now + timedelta(seconds=MAX_HEARTBEATS_MISSED * interval))
            self._next_beat = now_seconds + interval

    async def fold(self) -> None:
        """Fold the pending events of all slot ranges."""
        await asyncio.gather(*(self._stages["fold"](self._worker, key) for key in SLOT_RANGES))

    async def advance_due(self) -> None:
        """Advance the passes that are due, and set timers for passes that are due soon."""
        await asyncio.gather(*(self._stages["due"](self._worker, key) for key in SLOT_RANGES))
        await self.due_timers.look()

    async def backfill(self) -> None:
        """Advance the passes that were evaluated under older definitions."""
        behind = await self._worker.fold_queries.workspaces_behind()
        # Run them side by side: a long backfill of one workspace must not delay those of the others.
        await asyncio.gather(*(self._stages["backfill"](self._worker, workspace_id) for workspace_id in behind))

    async def publish(self) -> None:
        """Publish the outboxes of all workspaces."""
        waiting = await self._worker.publish_queries.waiting_workspaces()
        await asyncio.gather(*(self._stages["publish"](self._worker, workspace_id) for workspace_id in waiting))

    async def deliver(self) -> None:
        """Start a run at every webhook endpoint that has work, and set timers for endpoints that have work soon."""
        for wake_up in self._worker.dispatchers.values():
            wake_up.set()
        now_ms = system_ms()
        for endpoint in await self._worker.endpoint_leases.waiting(now_ms + TIMER_HORIZON_MS):
            key, ahead_ms = endpoint.endpoint_id, endpoint.begins_ms - now_ms
            if ahead_ms <= 0:
                start_run(self._worker, endpoint)
            elif key not in self._timers:
                self._timers[key] = asyncio.get_running_loop().call_later(
                    ahead_ms / 1000 + 0.001, self._start_run, endpoint
                )

    async def merge(self) -> None:
        """Move the remaining events of merged passes."""
        for pass_id in await self._worker.merge_queries.waiting():
            await self._stages["merge"](self._worker, pass_id)

    async def erase(self) -> None:
        """Remove the remaining data of erased passes."""
        for pass_id in await self._worker.erase_queries.waiting():
            await self._stages["erase"](self._worker, pass_id)

    async def rerun(self) -> None:
        """Run messages of inbound hooks again that wait for the event that they correct."""
        for delivery_id in await self._worker.rerun_queries.waiting(system_ms(), MAX_RERUNS):
            await self._stages["rerun"](self._worker, delivery_id)

    async def forget(self) -> None:
        """Delete the types and sources that no event has any more."""
        for workspace_id in await self._worker.forget_queries.waiting_workspaces():
            await self._stages["forget"](self._worker, workspace_id)

    async def start_jobs(self) -> None:
        """Start the jobs that no worker runs, and do not wait for them. They are cancelled when the worker stops."""
        crowded_out = False
        for job_id, workspace_id in await self._worker.job_leases.open(system_ms()):
            if job_id in self._jobs:
                continue
            if len(self._jobs) < MAX_JOBS_STARTED:
                self._jobs[job_id] = asyncio.create_task(self._run_job(job_id))
                self._job_workspaces[job_id] = workspace_id
            elif workspace_id not in self._job_workspaces.values():
                crowded_out = True
        self._worker.has_waiting_workspace = crowded_out

    async def _repeat(self, step: Callable[[], Awaitable[None]], stopping: asyncio.Event) -> None:
        """Run a step at the interval of sweeps until `stopping` is set."""
        seconds = self._worker.resources.settings.sweep_seconds
        while not stopping.is_set():
            try:
                await step()
            except STORE_FAILURES as error:
                # The queries of the store have logged the cause.
                log.debug("sweep step %s skipped: %s", step.__name__, error)
            except Exception:
                # Without this handler, one exception would end the loop of this step for good.
                log.exception("sweep step %s failed", step.__name__)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), seconds)

    def _start_run(self, endpoint: WaitingEndpoint) -> None:
        self._timers.pop(endpoint.endpoint_id, None)
        start_run(self._worker, endpoint)

    async def _run_job(self, job_id: str) -> None:
        try:
            await self._stages["jobs"](self._worker, job_id)
        finally:
            del self._jobs[job_id]
            self._job_workspaces.pop(job_id, None)
