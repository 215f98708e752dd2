"""Reactor: one run of a worker over the activity log of one workspace, which makes what follows outside the passes.

It is a reader of the log as a webhook endpoint is (`workers/delivery/runs.py`). A step starts the first entries of
partitions, and parked reactions that are due. If the worker crashes or loses the lease, the reactions to at most one entry
of each partition are repeated. Their ids make the repeat harmless.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from app.domain.activities import Activity
from app.domain.reactions.parked import ParkedReaction
from app.domain.reactions.reactions import reactions_of
from app.store.stages.endpoint_leases import Lease
from workers.delivery.partitions import LOG_BATCH_SIZE, Partition
from workers.delivery.runs import LogRun
from workers.worker import Worker

from .outcomes import QueuedReactions, ReactionOutcomes
from .performing import Attempted, attempt

log = logging.getLogger(__name__)

MAX_CONCURRENT_RETRIES = 8
"""Parked reactions that are made at the same time."""
PARKED_BATCH_SIZE = 200
"""Parked reactions that one read returns."""


class Reactor(LogRun[QueuedReactions]):
    """One run in one workspace. `chance` returns a random number from 0 to 1."""

    def __init__(
        self,
        worker: Worker,
        lease: Lease,
        *,
        election: object,
        wake_up: asyncio.Event,
        now_ms: Callable[[], int],
        chance: Callable[[], float],
    ) -> None:
        super().__init__(worker, worker.react_leases, lease, election=election, wake_up=wake_up, now_ms=now_ms)
        self._outcomes = ReactionOutcomes(chance)
        self._retrying_ids: set[str] = set()
        """Ids of the parked reactions that are being made."""
        self._has_more_due = False
        """Whether more parked reactions have a next attempt than were read."""

    async def _note_lost_lease(self) -> None:
        log.info("react in workspace %s ended: another worker holds its lease", self._lease.workspace_id)

    async def _read_state(self) -> None:
        """Read the parked reactions that have a next attempt."""
        found = await self._workspace.reactions.due(PARKED_BATCH_SIZE)
        self._has_more_due = len(found) == PARKED_BATCH_SIZE
        self._outcomes.set_due(each for each in found if each.reaction.id not in self._retrying_ids)

    def _start_items(self, now_ms: int) -> None:
        self._start_reading()
        for partition in self._partitions.all:
            if partition.can_send(now_ms):
                partition.is_sending = True
                self._start_task(self._react(partition.messages[0]), self._taking(partition))
        for parked in self._outcomes.take_due(now_ms, MAX_CONCURRENT_RETRIES - len(self._retrying_ids)):
            self._start_retry(parked)
        if self._has_more_due and not self._outcomes.due:
            self._is_stale = True

    async def _react(self, queued: QueuedReactions) -> list[Attempted]:
        return [await attempt(self._worker, self._workspace, each) for each in queued.reactions]

    def _taking(self, partition: Partition[QueuedReactions]) -> Callable[[list[Attempted]], None]:
        return lambda results: self._outcomes.record(partition, results, self._now_ms())

    def _start_retry(self, parked: ParkedReaction) -> None:
        def record(result: Attempted) -> None:
            self._retrying_ids.discard(parked.reaction.id)
            self._outcomes.record_retry(parked, result, self._now_ms())

        self._retrying_ids.add(parked.reaction.id)
        self._start_task(attempt(self._worker, self._workspace, parked.reaction, is_retry=True), record)

    async def _read_log(self, start: int) -> tuple[list[Activity], Callable[[Activity], QueuedReactions | None]]:
        return await self._workspace.activities_after(start - 1, LOG_BATCH_SIZE), _queued_of

    async def _store_results(self) -> None:
        await self._workspace.reactions.park(self._outcomes.parked)
        await self._workspace.reactions.complete(self._outcomes.completed)

    @property
    def _has_unsaved(self) -> bool:
        return self._outcomes.is_unsaved

    def _mark_saved(self) -> None:
        self._outcomes.mark_saved()

    def _next_retry_ms(self) -> int | None:
        times = [super()._next_retry_ms(), self._outcomes.next_due_ms()]
        return min((each for each in times if each is not None), default=None)

    async def _release(self) -> bool:
        progress, now_ms = self._progress, self._now_ms()
        if not self._worker.has_same_primary(self._election) or self._must_end(now_ms):
            # A new primary may not have shown the end of the log. The reads after the next claim do.
            await self._leases.release(progress, now_ms)
            return True
        is_released = await self._leases.go_idle(progress, self._next_retry_ms(), now_ms)
        if not is_released:
            await self._save_progress()
        return is_released


def _queued_of(activity: Activity) -> QueuedReactions | None:
    found = reactions_of(activity)
    return QueuedReactions(activity.position, found) if found else None
