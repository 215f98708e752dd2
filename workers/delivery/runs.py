"""One run of a worker for one reader of the activity log, from the claim of its lease to the release.

A webhook endpoint and the stage `react` are readers. A run repeats one step. It starts all work that may start: a read of
the log, and the first items of partitions. Then it waits until some of the work is done, and stores all results at once.
A partition takes its next item only after the result of the previous one is stored. So if the worker crashes or loses the
lease, at most one item of each partition is done twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from app.domain.activities import Activity
from app.domain.errors import STORE_FAILURES
from app.store.stages.endpoint_leases import LEASE_MS, EndpointLeases, Lease
from workers.worker import Worker

from .partitions import LOG_BATCH_SIZE, Partitions, Queued

log = logging.getLogger(__name__)

SAVE_INTERVAL_SECONDS = LEASE_MS / 3_000
"""The longest time without saving the progress, which renews the lease."""
STATE_INTERVAL_SECONDS = 1.0
"""The shortest time between two reads of the reader's state while work is under way."""
STOP_GRACE_SECONDS = 8.0
"""The time that work under way gets to finish when the worker stops."""

Q = TypeVar("Q", bound=Queued)


class LeaseLost(Exception):
    """Loss of the lease: another worker claimed the reader, or the reader was deleted. Nothing more may be started."""


class LogRun(Generic[Q]):
    """One run of one reader. A subclass says what to do about an activity, and what to store about the results.

    `leases` are those of the kind of reader. `election` is the last election of a primary before the claim. `wake_up` is
    set when there may be new work. `now_ms` is the system clock.
    """

    def __init__(
        self,
        worker: Worker,
        leases: EndpointLeases,
        lease: Lease,
        *,
        election: object,
        wake_up: asyncio.Event,
        now_ms: Callable[[], int],
    ) -> None:
        self._worker, self._leases, self._lease, self._election = worker, leases, lease, election
        self._wake_up, self._now_ms = wake_up, now_ms
        self._workspace = worker.resources.workspace(lease.workspace_id)
        self._partitions: Partitions[Q] = Partitions(lease.positions, lease.heads)
        self._running: dict[asyncio.Task[Any], Callable[[Any], None]] = {}
        """Tasks under way, each with the function that takes its result."""
        self._log_end: int | None = None
        """The position at which the last read of the log found its end, or None if there may be more activities."""
        self._is_stale, self._state_read_at = True, 0.0
        self._is_reading = self._is_reading_outdated = False
        """Whether a read of the log is under way, and whether the work token or the filter has changed since it began."""
        self._started_at = self._saved_at = time.monotonic()
        self._stop_deadline: float | None = None

    async def run(self) -> None:
        """Work until the reader has no work or the run must end. Raises Unavailable; safe to repeat."""
        try:
            while not await self._step():
                pass
        except LeaseLost:
            await self._note_lost_lease()
        except STORE_FAILURES:
            # Release the lease with the progress stored last. If the store does not answer, the lease expires.
            with contextlib.suppress(*STORE_FAILURES):
                await self._leases.release(self._lease, self._now_ms())
            raise
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _note_lost_lease(self) -> None:
        """Clean up after the loss of the lease, and log it."""
        raise NotImplementedError

    async def _read_state(self) -> None:
        """Read what the run needs to know besides the log."""
        raise NotImplementedError

    def _start_items(self, now_ms: int) -> None:
        """Start every read and every item that may start now."""
        raise NotImplementedError

    async def _store_results(self) -> None:
        """Store the results, before the progress is stored."""
        raise NotImplementedError

    async def _read_log(self, start: int) -> tuple[list[Activity], Callable[[Activity], Q | None]]:
        """Read the log from a position, and return the activities with what to do about each."""
        raise NotImplementedError

    async def _release(self) -> bool:
        """Store the progress, release the reader, and return whether it was released."""
        raise NotImplementedError

    @property
    def _progress(self) -> Lease:
        """The lease with the present progress."""
        return replace(self._lease, positions=self._partitions.positions, heads=self._partitions.heads)

    @property
    def _has_unsaved(self) -> bool:
        """Whether there are results that are not stored."""
        raise NotImplementedError

    def _mark_saved(self) -> None:
        """Mark all results as stored."""
        raise NotImplementedError

    def _must_end(self, now_ms: int) -> bool:
        """Return whether the run must start nothing more."""
        return self._worker.stopping

    def _next_retry_ms(self) -> int | None:
        """Return the time of the next retry, or None if there is none."""
        return min((head.retry_at_ms for head in self._partitions.heads.values()), default=None)

    async def _step(self) -> bool:
        """Start work, wait for some of it, store the results, and return whether the reader was released."""
        if self._is_stale and (not self._running or time.monotonic() - self._state_read_at >= STATE_INTERVAL_SECONDS):
            await self._read_state()
            self._is_stale, self._state_read_at = False, time.monotonic()
        if await self._worker.sharing.renew_lapsed():
            # Another worker may have taken the reader over before this heartbeat. This write shows that none has.
            await self._save_progress()
        now_ms = self._now_ms()
        if now_ms >= self._lease.free_ms:
            raise LeaseLost
        if not self._must_end(now_ms):
            self._start_items(now_ms)
        if self._is_overdue() or not (self._running or self._is_stale):
            return await self._release()
        if self._running:
            await self._wait_for_tasks()
        if self._has_unsaved:
            await self._store_results()
            if self._is_idle:
                # The release, which is next, stores the progress too.
                self._mark_saved()
                return False
        if self._has_unsaved or time.monotonic() - self._saved_at >= SAVE_INTERVAL_SECONDS:
            await self._save_progress()
        return False

    def _start_reading(self) -> bool:
        """Start a read of the log, unless one is under way or no partition needs it. Return whether one was started."""
        start = self._partitions.find_next_read()
        if self._is_reading or start is None or (self._log_end is not None and start >= self._log_end):
            return False
        self._is_reading, self._is_reading_outdated = True, False
        self._start_task(self._read_log(start), lambda read: self._take_read(start, *read))
        return True

    def _take_read(self, start: int, activities: Sequence[Activity], item_of: Callable[[Activity], Q | None]) -> None:
        """Add what was read to the partitions."""
        self._is_reading = False
        end = activities[-1].position + 1 if activities else start
        self._partitions.feed(start, activities, end, item_of)
        self._log_end = end if len(activities) < LOG_BATCH_SIZE and not self._is_reading_outdated else None

    def _forget_log_end(self) -> None:
        """Let the log be read on. A read that is under way may have begun before the log grew, so it finds no end."""
        self._log_end, self._is_reading_outdated = None, True

    def _start_task(self, work: Coroutine[Any, Any, Any], then: Callable[[Any], None]) -> None:
        self._running[asyncio.create_task(work)] = then

    async def _wait_for_tasks(self) -> None:
        """Wait until a task ends, a wake-up comes, or a retry or save is due. Then apply the results of ended tasks."""
        now_ms, retry_ms = self._now_ms(), self._next_retry_ms()
        wait_seconds = SAVE_INTERVAL_SECONDS
        if self._stop_deadline is not None:
            wait_seconds = max(0.0, self._stop_deadline - time.monotonic())
        if retry_ms is not None and retry_ms > now_ms:
            wait_seconds = min(wait_seconds, (retry_ms - now_ms) / 1000)
        wake_up = asyncio.create_task(self._wake_up.wait())
        done, _ = await asyncio.wait(
            {*self._running, wake_up}, timeout=wait_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if wake_up in done:
            self._wake_up.clear()
            # Saving is due at once: it returns the work token, which shows whether the reader or its work has changed.
            self._forget_log_end()
            self._saved_at = 0.0
        wake_up.cancel()
        for task in done - {wake_up}:
            self._running.pop(task)(task.result())

    @property
    def _is_idle(self) -> bool:
        """Whether nothing is left to do but release the reader."""
        is_empty = self._log_end is not None and not any(partition.messages for partition in self._partitions.all)
        return is_empty and not self._running and not self._is_stale

    async def _save_progress(self) -> None:
        """Store the progress, renew the lease, and note whether the work token has changed. Raises LeaseLost."""
        lease = await self._leases.save_progress(self._progress, self._now_ms())
        if lease is None:
            raise LeaseLost
        if lease.work_token != self._lease.work_token:
            self._is_stale = True
            self._forget_log_end()
        self._lease, self._saved_at = lease, time.monotonic()
        self._mark_saved()

    def _is_overdue(self) -> bool:
        """Return whether the worker is stopping and the work under way has had its time."""
        if self._worker.stopping and self._stop_deadline is None:
            self._stop_deadline = time.monotonic() + STOP_GRACE_SECONDS
        return self._stop_deadline is not None and time.monotonic() >= self._stop_deadline
