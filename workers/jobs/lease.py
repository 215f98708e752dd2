"""Lease on a job for one slice of time, with the steps that all kinds of jobs share.

A job runs one batch after another. Each batch is safe to repeat. The commit after a batch stores position and counts of
the job in one write. If the worker crashes before the commit, the next worker repeats the batch.
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
"""The time after which the worker releases a job. It is shorter than arq's timeout, and lets other jobs run."""
MIN_SLICE_SECONDS = 2.0
"""The time after which the worker releases a job if a workspace without a running job waits."""
MAX_PENDING_EVENTS = 2_000 * SLOTS_PER_RANGE
"""Pending events of a slot range above which a job that records events pauses, so that the fold catches up."""
BACKLOG_CHECK_INTERVAL_BATCHES = 5
"""Batches between two checks of the pending events."""
BACKLOG_PAUSE_SECONDS = 0.2
"""The shortest time between two checks while the job pauses."""
BACKLOG_REST_FACTOR = 8
"""After a check, no other one begins for so many times as long: on the embedded servers, it reads all that is pending."""


@dataclass
class JobLease:
    """The lease of one worker on one job.

    `deadline` is the end of the slice, in monotonic seconds. `result` is the result of the job so far, as the API shows
    it. `is_lost` is true once another worker has claimed the job: then this worker must stop. `election` is the last
    election of a primary before the claim.
    """

    worker: Worker
    run: JobRun
    election: object
    deadline: float = field(default_factory=lambda: time.monotonic() + JOB_SLICE_SECONDS)
    result: dict[str, object] = field(default_factory=dict)
    is_lost: bool = False
    _checked_batches: int = 0
    _next_check: float = 0.0

    @property
    def workspace(self) -> Workspace:
        """The workspace of the job."""
        return self.worker.resources.workspace(self.run.workspace_id)

    def context(self, channel: str, name: str, batch: str | None = None) -> Context:
        """Return the context for commands, with the actor who created the job. `batch` marks the recorded events."""
        actor = Actor(
            workspace_id=self.run.workspace_id, key_id=self.run.actor_id, name=name, scopes=frozenset({WRITE})
        )
        return Context(
            workspace=self.workspace, actor=actor, resources=self.worker.resources, channel=channel, batch=batch
        )

    async def can_continue(self, *, records: bool = False) -> bool:
        """Return whether another batch may start.

        No batch may start if the job is cancelled, the worker stops, the lease is lost or the slice is over. With
        `records`, the call waits while too many events are pending, as checked every five batches.
        """
        if records and self._checked_batches % BACKLOG_CHECK_INTERVAL_BATCHES == 0:
            await self._wait_for_fold()
        self._checked_batches += 1
        now = time.monotonic()
        if self.worker.has_waiting_workspace and now > self.deadline - JOB_SLICE_SECONDS + MIN_SLICE_SECONDS:
            return False
        return not (self.is_lost or self.run.is_cancelling or self.worker.stopping or now > self.deadline)

    def require_current_reads(self) -> None:
        """Raise Unavailable if a primary was elected since the claim.

        What the job read may then be older than the job, and miss what existed when the job was created. The next claim
        is a write: the reads after it are newer than the job.
        """
        self.worker.require_same_primary(self.election, essential=True)

    async def commit(
        self, position: object, tally: Tally, total: int | None = None, warning: str | None = None
    ) -> bool:
        """Store the position, the total counts so far, and `total`, the expected number of items if it is known now.

        `warning` is added to the warnings of the job, once. Returns False if another worker has claimed the job: nothing
        is stored then. Raises Unavailable, as `require_current_reads` does.
        """
        self.require_current_reads()
        committed = await self.worker.job_leases.commit(self.run, position, tally, total, warning)
        if committed is None:
            self.is_lost = True
            return False
        self.run = committed
        return True

    async def _wait_for_fold(self) -> None:
        ranges = [bounds_of(key) for key in SLOT_RANGES]
        while not self.worker.stopping and self._next_check <= (began := time.monotonic()) < self.deadline:
            is_backlogged = await self.worker.job_leases.is_backlogged(ranges, MAX_PENDING_EVENTS)
            ended = time.monotonic()
            rest_seconds = BACKLOG_REST_FACTOR * (ended - began)
            if not is_backlogged:
                self._next_check = ended + rest_seconds
                return
            await asyncio.sleep(max(BACKLOG_PAUSE_SECONDS, rest_seconds))
