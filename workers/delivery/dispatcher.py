"""Dispatcher: one run of a worker at one webhook endpoint.

Beside the first messages of partitions, a step starts deferred messages that are due. So if the worker crashes or loses
the lease, at most one message of each partition and 8 deferred messages are sent twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from app.domain.activities import Activity
from app.domain.activity_queries import ActivityQuery, match_none
from app.domain.inbound.hooks import HookSecret
from app.domain.values.instants import from_ms
from app.domain.webhooks.deliveries import WebhookDelivery
from app.domain.webhooks.endpoints import EndpointStatus, WebhookEndpoint
from app.domain.webhooks.messages import Message, render_message
from app.outbound.http_client import Poster
from app.outbound.webhook_sender import AttemptResult, send
from app.store.mongo.horizons import Horizon
from app.store.stages.endpoint_leases import Lease
from workers.worker import Worker

from .outcomes import AttemptOutcomes, QueuedMessage
from .partitions import LOG_BATCH_SIZE, Partition
from .runs import LogRun

log = logging.getLogger(__name__)

MAX_CONCURRENT_RETRIES = 8
"""Deferred messages that are sent at the same time."""
DEFERRED_BATCH_SIZE = 200
"""Deferred deliveries that one read returns."""
ENDPOINT_SLICE_SECONDS = 20.0
"""The time after which a run ends if other endpoints wait for one of the worker's dispatchers."""


class Dispatcher(LogRun[QueuedMessage]):
    """One run at one endpoint.

    `poster` sends the requests. `chance` returns a random number from 0 to 1. `timeout_seconds` is the longest time that
    one attempt may take.
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
        super().__init__(worker, worker.endpoint_leases, lease, election=election, wake_up=wake_up, now_ms=now_ms)
        self._poster, self._chance, self._timeout_seconds = poster, chance, timeout_seconds
        self._outcomes = AttemptOutcomes(
            lease.endpoint_id, self._partitions, lease.health, chance=chance, last_attempt=lease.last_attempt
        )
        self._retrying_ids: set[str] = set()
        """Ids of the deferred deliveries that are being sent."""
        self._deferred_read_until: datetime | None = None
        """The due time up to which the deferred deliveries were read, or None if all of them were read."""
        self._endpoint: WebhookEndpoint | None = None
        self._secrets: Sequence[HookSecret] = ()
        self._query: ActivityQuery | None = None
        self._matches: Callable[[Activity], bool] = match_none
        self._can_probe, self._deferred_horizon = lease.health.circuit_open, Horizon()

    async def _note_lost_lease(self) -> None:
        is_deleted = await self._workspace.forget_if_deleted(self._lease.endpoint_id)
        reason = "the endpoint is deleted" if is_deleted else "another worker holds its lease"
        log.info("delivery to endpoint %s ended: %s", self._lease.endpoint_id, reason)

    async def _store_results(self) -> None:
        await self._workspace.deliveries.insert(self._outcomes.new_deliveries)
        await self._workspace.deliveries.save(self._outcomes.changed_deliveries)

    @property
    def _has_unsaved(self) -> bool:
        return self._outcomes.is_unsaved

    def _mark_saved(self) -> None:
        self._outcomes.mark_saved()

    def _next_retry_ms(self) -> int | None:
        return self._outcomes.next_retry_ms()

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
            self._query = query
            self._forget_log_end()
            self._matches = match_none if query is None else query.matches
            self._partitions.drop_messages()

    def _start_items(self, now_ms: int) -> None:
        """Start every read, attempt and retry that may start now."""
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

    async def _read_log(self, start: int) -> tuple[list[Activity], Callable[[Activity], QueuedMessage | None]]:
        query, matches = self._query, self._matches
        activities = await self._workspace.activities_after(start - 1, LOG_BATCH_SIZE)
        pass_ids = {activity.pass_id for activity in activities if matches(activity)}
        # Use the passes' own external ids, also after a merge: the survivor may change between two attempts of a
        # message, and the body must not.
        external_ids = await self._workspace.passes.own_external_ids(pass_ids) if pass_ids else {}
        return activities, QueuedBy(query, matches, external_ids)

    def _take_read(
        self, start: int, activities: Sequence[Activity], item_of: Callable[[Activity], QueuedMessage | None]
    ) -> None:
        """Add the activities that were read to the partitions, unless the filter has changed since."""
        assert isinstance(item_of, QueuedBy)
        if item_of.query == self._query:
            super()._take_read(start, activities, item_of)
        else:
            self._is_reading = False

    def _start_attempt(self, partition: Partition[QueuedMessage]) -> None:
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

    @property
    def _progress(self) -> Lease:
        """The lease with the present positions, failed attempts and health."""
        return replace(super()._progress, health=self._outcomes.health, last_attempt=self._outcomes.last_attempt)

    async def _release(self) -> bool:
        """Store the progress, release the endpoint, and return whether it was released.

        It is not released if a writer replaced the work token meanwhile, or if it has just been disabled.
        """
        leases, progress, now_ms = self._leases, self._progress, self._now_ms()
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


@dataclass(frozen=True, slots=True)
class QueuedBy:
    """What an endpoint does about activities: it sends those that its filter matches. None for all others.

    `external_ids` are the external ids of their passes, by pass id.
    """

    query: ActivityQuery | None
    matches: Callable[[Activity], bool]
    external_ids: Mapping[str, str]

    def __call__(self, activity: Activity) -> QueuedMessage | None:
        """Return the message of an activity, or None if the endpoint's filter hides it."""
        if not self.matches(activity):
            return None
        message = render_message(activity, self.external_ids.get(activity.pass_id))
        return QueuedMessage(
            position=activity.position,
            activity_id=activity.id,
            type=activity.type,
            recorded_at=activity.recorded_at,
            message=message,
        )
