"""Dispatcher: one run of a worker at one webhook endpoint, from the claim of its lease to the release.

The dispatcher repeats one step. It starts all work that may start: a read of the log, first messages of
partitions, and deferred messages that are due. Then it waits until some of the work is done, and stores all
results at once. A partition sends its next message only after the result of the previous one is stored. So if the
worker crashes or loses the lease, at most one message of each partition and 8 deferred messages are sent twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from app.domain.activities import Activity, ActivityQuery, match_none
from app.domain.errors import STORE_FAILURES
from app.domain.inbound.hooks import HookSecret
from app.domain.values.instants import from_ms
from app.domain.webhooks.deliveries import WebhookDelivery
from app.domain.webhooks.endpoints import EndpointStatus, WebhookEndpoint
from app.domain.webhooks.messages import Message, render_message
from app.outbound.http_client import Poster
from app.outbound.webhook_sender import AttemptResult, send
from app.store.mongo.horizons import Horizon
from app.store.stages.endpoint_leases import LEASE_MS, Lease
from workers.worker import Worker

from .outcomes import AttemptOutcomes
from .partitions import LOG_BATCH_SIZE, Partition, Partitions

log = logging.getLogger(__name__)

MAX_CONCURRENT_RETRIES = 8
"""Deferred messages that are sent at the same time."""
DEFERRED_BATCH_SIZE = 200
"""Deferred deliveries that one read returns."""
SAVE_INTERVAL_SECONDS = LEASE_MS / 3_000
"""The longest time without saving the progress, which renews the lease."""
STATE_INTERVAL_SECONDS = 1.0
"""The shortest time between two reads of the endpoint's state while messages are being sent."""
ENDPOINT_SLICE_SECONDS = 20.0
"""The time after which a run ends if other endpoints wait for one of the worker's dispatchers."""
STOP_GRACE_SECONDS = 8.0
"""The time that requests under way get to finish when the worker stops."""


class LeaseLost(Exception):
    """Loss of the lease: another worker claimed the endpoint, or the endpoint was deleted. Nothing more may be sent."""


class Dispatcher:
    """One run at one endpoint.

    `election` is the last election of a primary before the claim. `poster` sends the requests. `wake_up` is set when there
    may be new work. `now_ms` is the system clock. `chance` returns a random number from 0 to 1. `timeout_seconds` is the
    longest time that one attempt may take.
    """

    def __init__(
        self,
        worker: Worker,
        lease: Lease,
        election: object,
        poster: Poster,
        wake_up: asyncio.Event,
        now_ms: Callable[[], int],
        chance: Callable[[], float],
        timeout_seconds: float,
    ) -> None:
        self._worker, self._lease, self._poster, self._wake_up = worker, lease, poster, wake_up
        self._now_ms, self._chance, self._timeout_seconds = now_ms, chance, timeout_seconds
        self._election = election
        self._workspace = worker.resources.workspace(lease.workspace_id)
        self._partitions = Partitions(lease.positions, lease.heads)
        self._outcomes = AttemptOutcomes(
            lease.endpoint_id, self._partitions, lease.health, chance=chance, last_attempt=lease.last_attempt
        )
        self._running: dict[asyncio.Task[Any], Callable[[Any], None]] = {}
        """Tasks under way, each with the function that takes its result."""
        self._retrying_ids: set[str] = set()
        """Ids of the deferred deliveries that are being sent."""
        self._deferred_read_until: datetime | None = None
        """The due time up to which the deferred deliveries were read, or None if all of them were read."""
        self._endpoint: WebhookEndpoint | None = None
        self._secrets: Sequence[HookSecret] = ()
        self._query: ActivityQuery | None = None
        self._matches: Callable[[Activity], bool] = match_none
        self._log_end: int | None = None
        """The position at which the last read of the log found its end, or None if there may be more activities."""
        self._can_probe, self._deferred_horizon = lease.health.circuit_open, Horizon()
        self._is_stale, self._is_reading, self._state_read_at = True, False, 0.0
        self._started_at = self._saved_at = time.monotonic()
        self._stop_deadline: float | None = None

    async def run(self) -> None:
        """Deliver until the endpoint has no work or the run must end. Raises Unavailable; safe to repeat."""
        try:
            while not await self._step():
                pass
        except LeaseLost:
            is_deleted = await self._workspace.forget_if_deleted(self._lease.endpoint_id)
            reason = "the endpoint is deleted" if is_deleted else "another worker holds its lease"
            log.info("delivery to endpoint %s ended: %s", self._lease.endpoint_id, reason)
        except STORE_FAILURES:
            # Release the lease with the progress stored last. If the store does not answer, the lease expires.
            with contextlib.suppress(*STORE_FAILURES):
                await self._worker.endpoint_leases.release(self._lease, self._now_ms())
            raise
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _step(self) -> bool:
        """Start work, wait for some of it, store the results, and return whether the endpoint was released."""
        if self._is_stale and (not self._running or time.monotonic() - self._state_read_at >= STATE_INTERVAL_SECONDS):
            await self._read_state()
        if await self._worker.sharing.renew_lapsed():
            # Another worker may have taken the endpoint over before this heartbeat. This write shows that none has.
            await self._save_progress()
        self._start_work(self._now_ms())
        if self._is_overdue() or not (self._running or self._is_stale):
            return await self._release()
        if self._running:
            await self._wait_for_tasks()
        if self._outcomes.is_unsaved:
            await self._workspace.deliveries.insert(self._outcomes.new_deliveries)
            await self._workspace.deliveries.save(self._outcomes.changed_deliveries)
            if self._is_idle:
                # The release, which is next, stores the progress too.
                self._outcomes.mark_saved()
                return False
        if self._outcomes.is_unsaved or time.monotonic() - self._saved_at >= SAVE_INTERVAL_SECONDS:
            await self._save_progress()
        return False

    async def _read_state(self) -> None:
        """Read the endpoint, its secrets and its deferred deliveries."""
        endpoint_id = self._lease.endpoint_id
        found, (deferred, self._deferred_horizon) = await asyncio.gather(
            self._workspace.webhooks.get_with_secrets(endpoint_id),
            self._workspace.deliveries.deferred(endpoint_id, DEFERRED_BATCH_SIZE, self._deferred_horizon),
        )
        self._outcomes.set_deferred(each for each in deferred if each.id not in self._retrying_ids)
        self._deferred_read_until = None if self._deferred_horizon.until_ms is None else deferred[-1].due_at
        before, (self._endpoint, self._secrets) = self._endpoint, found or (None, ())
        query = None if self._endpoint is None else await self._workspace.include_aliases(self._endpoint.filter)
        if before is not None and self._endpoint != before:
            # The URL may be another one, or an operator may have enabled the endpoint: earlier failures do not count.
            self._outcomes.reset_health()
        if self._endpoint != before or query != self._query:
            self._query, self._log_end = query, None
            self._matches = match_none if query is None else query.matches
            self._partitions.drop_messages()
        self._is_stale, self._state_read_at = False, time.monotonic()

    def _start_work(self, now_ms: int) -> None:
        """Start every read, attempt and retry that may start now. Raises LeaseLost if the lease has expired."""
        if now_ms >= self._lease.free_ms:
            raise LeaseLost
        if self._must_end(now_ms):
            return
        if self._outcomes.health.circuit_open:
            if self._can_probe and not self._running:
                self._start_probe(now_ms)
            return
        self._start_reading()
        for partition in self._partitions.all:
            if partition.can_send(now_ms):
                self._start_attempt(partition)
        for delivery in self._outcomes.take_due(now_ms, MAX_CONCURRENT_RETRIES - len(self._retrying_ids)):
            self._start_retry(delivery)
        if self._deferred_read_until is not None and not self._outcomes.has_due_by(self._deferred_read_until):
            self._is_stale = True

    def _must_end(self, now_ms: int) -> bool:
        """Return whether the run must start nothing more."""
        is_slice_over = time.monotonic() - self._started_at > ENDPOINT_SLICE_SECONDS
        return (
            self._worker.stopping
            or (self._worker.has_no_dispatcher_left and is_slice_over)
            or not self._lease.is_on
            or self._endpoint is None
            or self._endpoint.status is EndpointStatus.DISABLED
            or self._outcomes.find_disabled_reason(now_ms, can_probe=self._can_probe) is not None
        )

    def _start_probe(self, now_ms: int) -> None:
        """Send one message to an endpoint whose circuit is open.

        Each probe takes the next partition that has messages: one message that always fails must not keep the circuit
        open.
        """
        partitions = [partition for partition in self._partitions.all if partition.messages]
        if partitions:
            self._can_probe = False
            self._start_attempt(partitions[self._outcomes.health.probe_pauses % len(partitions)])
        elif not self._start_reading():
            for delivery in self._outcomes.take_due(now_ms, 1):
                self._can_probe = False
                self._start_retry(delivery)

    def _start_reading(self) -> bool:
        """Start a read of the log, unless one is under way or no partition needs it. Return whether one was started."""
        start = self._partitions.find_next_read()
        if self._is_reading or start is None or (self._log_end is not None and start >= self._log_end):
            return False
        self._is_reading, query = True, self._query
        self._start_task(self._read_log(start), lambda read: self._queue_messages(query, start, *read))
        return True

    async def _read_log(self, start: int) -> tuple[list[Activity], Mapping[str, str]]:
        activities = await self._workspace.activities_after(start - 1, LOG_BATCH_SIZE)
        pass_ids = {activity.pass_id for activity in activities if self._matches(activity)}
        # Use the passes' own external ids, also after a merge: the survivor may change between two attempts of a
        # message, and the body must not.
        return activities, await self._workspace.passes.own_external_ids(pass_ids) if pass_ids else {}

    def _queue_messages(
        self, query: ActivityQuery | None, start: int, activities: Sequence[Activity], external_ids: Mapping[str, str]
    ) -> None:
        """Add the activities that were read to the partitions, unless the filter has changed since."""
        self._is_reading = False
        if self._query != query:
            return
        end = activities[-1].position + 1 if activities else start
        self._partitions.feed(start, activities, end, self._matches, external_ids)
        self._log_end = end if len(activities) < LOG_BATCH_SIZE else None

    def _start_attempt(self, partition: Partition) -> None:
        partition.is_sending, work = True, self._send(partition.messages[0].message)
        self._start_task(work, lambda result: self._outcomes.record_attempt(partition, result, self._now_ms()))

    def _start_retry(self, delivery: WebhookDelivery) -> None:
        def record(result: AttemptResult | None) -> None:
            self._retrying_ids.discard(delivery.id)
            self._outcomes.record_retry(delivery, result, self._now_ms())

        self._retrying_ids.add(delivery.id)
        self._start_task(self._send_deferred(delivery), record)

    async def _send_deferred(self, delivery: WebhookDelivery) -> AttemptResult | None:
        """Render the message of a deferred delivery and send it. Return None if its activity is not in the log."""
        for activity in (await self._workspace.activities.get_many([delivery.activity_id])).values():
            external_ids = await self._workspace.passes.own_external_ids([activity.pass_id])
            return await self._send(render_message(activity, external_ids.get(activity.pass_id)))
        return None

    async def _send(self, message: Message) -> AttemptResult:
        assert self._endpoint is not None, "nothing is sent to an endpoint that does not exist"
        return await send(self._poster, self._endpoint.url, self._secrets, message, self._now_ms, self._timeout_seconds)

    def _start_task(self, work: Coroutine[Any, Any, Any], then: Callable[[Any], None]) -> None:
        self._running[asyncio.create_task(work)] = then

    async def _wait_for_tasks(self) -> None:
        """Wait until a task ends, a wake-up comes, or a retry or save is due. Then apply the results of ended tasks."""
        now_ms, retry_ms = self._now_ms(), self._outcomes.next_retry_ms()
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
            # Saving is due at once: it returns the work token, which shows whether the endpoint or its work has
            # changed.
            self._log_end, self._saved_at = None, 0.0
        wake_up.cancel()
        for task in done - {wake_up}:
            self._running.pop(task)(task.result())

    @property
    def _is_idle(self) -> bool:
        """Whether nothing is left to do but release the endpoint."""
        is_empty = self._log_end is not None and not any(partition.messages for partition in self._partitions.all)
        return is_empty and not self._running and not self._is_stale

    async def _save_progress(self) -> None:
        """Store the progress, renew the lease, and note whether the work token has changed. Raises LeaseLost."""
        lease = await self._worker.endpoint_leases.save_progress(self._progress, self._now_ms())
        if lease is None:
            raise LeaseLost
        if lease.work_token != self._lease.work_token:
            self._is_stale, self._log_end = True, None
        self._lease, self._saved_at = lease, time.monotonic()
        self._outcomes.mark_saved()

    @property
    def _progress(self) -> Lease:
        """The lease with the present positions, failed attempts and health."""
        return replace(
            self._lease,
            positions=self._partitions.positions,
            heads=self._partitions.heads,
            health=self._outcomes.health,
            last_attempt=self._outcomes.last_attempt,
        )

    def _is_overdue(self) -> bool:
        """Return whether the worker is stopping and the requests under way have had their time."""
        if self._worker.stopping and self._stop_deadline is None:
            self._stop_deadline = time.monotonic() + STOP_GRACE_SECONDS
        return self._stop_deadline is not None and time.monotonic() >= self._stop_deadline

    async def _release(self) -> bool:
        """Store the progress, release the endpoint, and return whether it was released.

        It is not released if a writer replaced the work token meanwhile, or if it has just been disabled.
        """
        leases, progress, now_ms = self._worker.endpoint_leases, self._progress, self._now_ms()
        if (reason := self._outcomes.find_disabled_reason(now_ms, can_probe=self._can_probe)) is not None:
            await self._workspace.webhooks.disable(progress.endpoint_id, reason, from_ms(now_ms))
            log.warning("endpoint %s disabled: %s", progress.endpoint_id, reason)
            # The next step reads the endpoint again. It is DISABLED, unless an operator has enabled it meanwhile.
            self._outcomes.reset_health()
            self._is_stale = True
            return False
        if not self._worker.has_same_primary(self._election):
            # The new primary may not have shown the end of the log, or a new endpoint. The reads after the next claim do.
            await leases.release(progress, now_ms)
            return True
        if self._endpoint is None or self._endpoint.status is EndpointStatus.DISABLED:
            is_released = await leases.switch_off(progress)
        elif self._must_end(now_ms):
            await leases.release(progress, now_ms)
            return True
        elif progress.health.circuit_open and not self._can_probe:
            delay_ms = progress.health.probe_delay_ms(self._chance(), self._outcomes.retry_after_seconds)
            until_ms = now_ms + delay_ms
            paused = replace(progress, health=progress.health.after_probe_pause())
            is_released = await leases.go_idle(paused, until_ms, until_ms)
        else:
            is_released = await leases.go_idle(progress, self._outcomes.next_retry_ms(), now_ms)
        if not is_released:
            await self._save_progress()
        return is_released
