"""Turns: one worker's hold on a job for a while, and what every kind of job does with it.

A kind's carrier takes a turn and does one batch after another: what a batch does can be done again, and the commit that
follows it moves the job on, position and counts together. Who dies before that leaves a batch to be done again.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from app.commands.context import Context
from app.domain.actors import WRITE, Actor
from app.domain.jobs import Tally
from app.flow import SLOT_RANGES, SLOTS_PER_RANGE, bounds_of
from app.store.stages.job_leases import JobRun
from app.store.workspace.workspace import Workspace
from workers.worker import Worker

JOB_SLICE_SECONDS = 20.0
"""How long one run goes on before it lets go: well within the timeout of a job, so that jobs take turns."""
MAX_PENDING_EVENTS = 2_000 * SLOTS_PER_RANGE
"""How many events may wait in a range of slots before a job that records more lets the fold catch up."""
BACKLOG_CHECK_INTERVAL_BATCHES = 5
BACKLOG_PAUSE_SECONDS = 0.2


@dataclass
class JobLease:
    """A turn at a job. `lost` says that another has taken it over: nothing more may be done with it."""

    worker: Worker
    run: JobRun
    until: float = field(default_factory=lambda: time.monotonic() + JOB_SLICE_SECONDS)
    outcome: dict[str, object] = field(default_factory=dict)
    lost: bool = False
    _asked: int = 0

    @property
    def workspace(self) -> Workspace:
        """The workspace of the job."""
        return self.worker.resources.workspace(self.run.workspace_id)

    def context(self, channel: str, name: str, batch: str | None = None) -> Context:
        """What commands are given that act for whoever asked for the job; `batch` marks the events they record."""
        actor = Actor(self.run.workspace_id, self.run.actor_id, name, frozenset({WRITE}))
        return Context(self.workspace, actor, self.worker.resources, channel, batch=batch)

    async def can_continue(self, *, records: bool = False) -> bool:
        """Whether another batch may be begun: not when the job is told to stop, the worker stops or the time is over.

        A job that `records` events waits here now and then for the fold to catch up.
        """
        if records and self._asked % BACKLOG_CHECK_INTERVAL_BATCHES == 0:
            await self._wait_for_fold()
        self._asked += 1
        return not (self.lost or self.run.is_cancelling or self.worker.stopping or time.monotonic() > self.until)

    async def commit(self, position: object, tally: Tally, total: int | None = None) -> bool:
        """Moves the job on to a position, with these counts in all; False where another has taken it over.

        `total` is how many items are expected, where that has just been found out.
        """
        moved = await self.worker.job_leases.commit(self.run, position, tally, total)
        if moved is None:
            self.lost = True
            return False
        self.run = moved
        return True

    async def _wait_for_fold(self) -> None:
        ranges = [bounds_of(key) for key in SLOT_RANGES]
        runs = self.worker.job_leases
        while time.monotonic() < self.until and not self.worker.stopping:
            if not await runs.backlogged(ranges, MAX_PENDING_EVENTS):
                return
            await asyncio.sleep(BACKLOG_PAUSE_SECONDS)
