"""One run of a worker at one channel, from the claim of its lease to the release.

The run repeats one step. It starts the first messages of its partitions, waits until some are done, and stores their
outcomes: first the events that report them, then the messages. A partition starts its next message only then. So if the
worker crashes or loses the lease, at most one message of each partition is sent twice, with the same id. A pass has one
message at a time, so the frequency cap of a channel is exact.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from zoneinfo import ZoneInfo

from app.domain.errors import STORE_FAILURES
from app.domain.events.events import Event
from app.domain.ids import message_outcome_id
from app.domain.messages.channels import Channel
from app.domain.messages.messages import Message, MessageReason, MessageStatus
from app.domain.messages.rendering import Obstacle
from app.domain.values.instants import from_ms
from app.domain.values.zones import stored_zone
from app.domain.webhooks.partitions import PARTITIONS, EndpointHealth, partition_of
from app.outbound.message_sender import MessageSender
from app.outbound.sending import SendOutcome
from app.store.stages.endpoint_leases import LEASE_MS, Lease
from app.telemetry import metrics
from workers.worker import Worker

from .message_outcomes import adopt, end_by, outcome_event
from .message_sending import Handled, MessageHandler

log = logging.getLogger(__name__)

BATCH_SIZE = 200
"""Messages that one read returns."""
SAVE_INTERVAL_SECONDS = LEASE_MS / 3_000
"""The longest time without renewing the lease."""
CHANNEL_SLICE_SECONDS = 20.0
"""The time after which a run ends if others wait for one of the worker's runs."""
STOP_GRACE_SECONDS = 8.0
"""The time that requests under way get to finish when the worker stops."""


MAX_SENDERS = 100
"""Channels at which one process sends at the same time."""


class LeaseLost(Exception):
    """Loss of the lease: another worker claimed the channel. Nothing more may be sent."""


class ChannelRun:
    """One run at one channel. `sender` sends its messages; `channel` is None if it does not exist.

    `wake_up` is set when there may be new work. `now_ms` is the system clock. `chance` returns a random number from 0 to
    1. `timeout_seconds` is the longest time that one attempt may take.
    """

    def __init__(
        self,
        worker: Worker,
        lease: Lease,
        channel: Channel,
        sender: MessageSender,
        *,
        wake_up: asyncio.Event,
        now_ms: Callable[[], int],
        chance: Callable[[], float],
        timeout_seconds: float,
    ) -> None:
        self._worker, self._lease, self._channel = worker, lease, channel
        self._wake_up, self._now_ms, self._chance = wake_up, now_ms, chance
        self._workspace = worker.resources.workspace(lease.workspace_id)
        self._sender, self._timeout_seconds = sender, timeout_seconds
        self._handler: MessageHandler | None = None
        self._health, self._retry_after_seconds = lease.health, 0
        self._queues: list[deque[Message]] = [deque() for _ in range(PARTITIONS)]
        self._queued_ids: set[str] = set()
        self._running: dict[asyncio.Task[Handled], int] = {}
        """Messages under way, each with its partition."""
        self._may_have_more = True
        self._can_probe = lease.health.circuit_open
        self._started_at = self._saved_at = time.monotonic()
        self._stop_deadline: float | None = None

    async def run(self) -> None:
        """Send until the channel has no work or the run must end. Raises Unavailable; safe to repeat."""
        try:
            zone = stored_zone((await self._workspace.profile()).timezone)
            self._handler = await self._open_handler(zone)
            while not await self._step():
                pass
        except LeaseLost:
            log.info("the run at channel %s ended: another worker holds its lease", self._lease.endpoint_id)
        except STORE_FAILURES:
            with contextlib.suppress(*STORE_FAILURES):
                await self._worker.channel_leases.release(self._progress, self._now_ms())
            raise
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _open_handler(self, zone: ZoneInfo) -> MessageHandler:
        return MessageHandler(
            self._worker,
            self._workspace,
            self._channel,
            sender=self._sender,
            zone=zone,
            secret=await self._workspace.secret(),
            now_ms=self._now_ms,
            timeout_seconds=self._timeout_seconds,
        )

    async def _step(self) -> bool:
        """Start messages, wait for some, store the outcomes, and return whether the channel was released."""
        if await self._worker.sharing.renew_lapsed():
            await self._save_progress()
        now_ms = self._now_ms()
        if now_ms >= self._lease.free_ms:
            raise LeaseLost
        if not self._must_end():
            if self._may_have_more and len(self._queued_ids) < BATCH_SIZE // 2:
                await self._read_due(now_ms)
            self._start_messages()
        if not self._running or self._is_overdue():
            return await self._release()
        is_woken = await self._wait_for_messages()
        if is_woken or time.monotonic() - self._saved_at >= SAVE_INTERVAL_SECONDS:
            await self._save_progress()
        return False

    async def _wait_for_messages(self) -> bool:
        """Wait until a message is done, a wake-up comes, or the lease must be renewed; store what is done.

        Returns whether there may be new work.
        """
        wake_up = asyncio.create_task(self._wake_up.wait())
        seconds = SAVE_INTERVAL_SECONDS
        if self._stop_deadline is not None:
            seconds = max(0.0, self._stop_deadline - time.monotonic())
        done, _ = await asyncio.wait({*self._running, wake_up}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        is_woken = wake_up in done
        wake_up.cancel()
        if is_woken:
            self._wake_up.clear()
        finished = [task for task in self._running if task.done()]
        if finished:
            results = [task.result() for task in finished]
            for task in finished:
                del self._running[task]
            await self._store(results)
        return is_woken

    def _must_end(self) -> bool:
        is_slice_over = time.monotonic() - self._started_at > CHANNEL_SLICE_SECONDS
        return (
            self._worker.stopping
            or (has_no_sender_left(self._worker) and is_slice_over)
            or (self._health.circuit_open and not self._can_probe)
        )

    async def _read_due(self, now_ms: int) -> None:
        """Read messages that are due into the queues. Those with an outcome that a crash left unstored get it now."""
        found = await self._workspace.messages.due(self._lease.endpoint_id, now_ms, BATCH_SIZE)
        self._may_have_more = len(found) == BATCH_SIZE
        new = [message for message in found if message.id not in self._queued_ids]
        outcome_ids = {message.id: message_outcome_id(message.id, message.generation) for message in new}
        recorded = await self._workspace.events.get_many(outcome_ids.values()) if new else {}
        left_over = [(each, recorded[outcome_ids[each.id]]) for each in new if outcome_ids[each.id] in recorded]
        await self._workspace.messages.save(
            [(message, adopt(message, event, from_ms(now_ms))) for message, event in left_over]
        )
        for message in new:
            if outcome_ids[message.id] not in recorded:
                self._queues[partition_of(message.pass_id)].append(message)
                self._queued_ids.add(message.id)

    def _start_messages(self) -> None:
        """Start the first message of each free partition. While the circuit is open, start one of all as a probe."""
        assert self._handler is not None
        busy = set(self._running.values())
        order = range(PARTITIONS)
        if self._health.circuit_open:
            if self._running:
                return
            # Each probe takes another partition: one message that always fails must not keep the circuit open.
            first = self._health.probe_pauses % PARTITIONS
            order = range(first, first + PARTITIONS)
        for number in order:
            queue = self._queues[number % PARTITIONS]
            if queue and number % PARTITIONS not in busy:
                work = self._handler.handle(queue.popleft())
                self._running[asyncio.create_task(work)] = number % PARTITIONS
                if self._health.circuit_open:
                    return

    async def _store(self, handled: list[Handled]) -> None:
        """Store outcomes: the events first, then the messages. An event that exists decides the outcome."""
        now_ms, at = self._now_ms(), await self._worker.resources.clock.now()
        changed: list[tuple[Message, Message]] = []
        ended: list[tuple[Message, Message, Event]] = []
        for each in handled:
            after = each.finish(self._record_health(each, now_ms), at, now_ms, self._chance())
            self._queued_ids.discard(each.message.id)
            metrics.MESSAGES.labels(after.status.value.lower()).inc()
            if each.pass_id is None:
                await self._workspace.messages.insert_stubs([], from_ms(now_ms), existing=[each.message.id])
            elif after.status is MessageStatus.QUEUED:
                changed.append((each.message, after))
            else:
                ended.append((each.message, after, outcome_event(after, self._channel, each.pass_id, at)))
        if ended:
            existing = await self._workspace.events.insert([(event, b"") for _, _, event in ended])
            stored = await self._workspace.events.get_many([ended[index][2].id for index in existing])
            for message, after, event in ended:
                first = stored.get(event.id)
                changed.append((message, after if first is None else adopt(after, first, from_ms(now_ms))))
            self._worker.resources.wake_fold(self._workspace.id, {event.pass_id for _, _, event in ended})
        await self._workspace.messages.save(changed)

    def _record_health(self, handled: Handled, now_ms: int) -> bool:
        """Apply a result to the health of the channel and return whether the channel accepts nothing now."""
        if handled.result is None:
            return self._health.circuit_open
        self._lease = replace(self._lease, last_attempt=handled.result.attempt)
        if handled.result.outcome is SendOutcome.FAILED:
            self._health = self._health.after_failure(now_ms)
            self._retry_after_seconds = handled.result.retry_after_seconds
            if self._health.circuit_open:
                self._can_probe = False
            return self._health.circuit_open
        self._health, self._retry_after_seconds = EndpointHealth(), 0
        return False

    @property
    def _progress(self) -> Lease:
        return replace(self._lease, health=self._health)

    async def _save_progress(self) -> None:
        """Renew the lease, and note whether there is new work. Raises LeaseLost."""
        lease = await self._worker.channel_leases.save_progress(self._progress, self._now_ms())
        if lease is None:
            raise LeaseLost
        self._may_have_more |= lease.work_token != self._lease.work_token
        self._lease, self._saved_at = lease, time.monotonic()

    def _is_overdue(self) -> bool:
        if self._worker.stopping and self._stop_deadline is None:
            self._stop_deadline = time.monotonic() + STOP_GRACE_SECONDS
        return self._stop_deadline is not None and time.monotonic() >= self._stop_deadline

    async def _release(self) -> bool:
        """Release the channel, and return whether it was released: not if there is new work."""
        leases, progress, now_ms = self._worker.channel_leases, self._progress, self._now_ms()
        if progress.health.circuit_open and not self._can_probe and not self._worker.stopping:
            until_ms = now_ms + progress.health.probe_delay_ms(self._chance(), self._retry_after_seconds)
            paused = replace(progress, health=progress.health.after_probe_pause())
            is_released = await leases.go_idle(paused, until_ms, until_ms)
        elif self._must_end():
            await leases.release(progress, now_ms)
            return True
        else:
            next_ms = await self._workspace.messages.next_due_ms(self._lease.endpoint_id)
            if next_ms is not None and next_ms <= now_ms:
                # The first retry of a message is due at once.
                self._may_have_more = True
                return False
            is_released = await leases.go_idle(progress, next_ms, now_ms)
        if not is_released:
            await self._save_progress()
            self._may_have_more = True
        return is_released


def has_no_sender_left(worker: Worker) -> bool:
    """Return whether no run at another channel can start before one ends."""
    return len(worker.senders) >= MAX_SENDERS


async def end_all(worker: Worker, lease: Lease, now_ms: int) -> None:
    """End the QUEUED messages of a channel that is archived or does not exist, and release its lease. Safe to repeat."""
    workspace = worker.resources.workspace(lease.workspace_id)
    channel = (await workspace.channels.get_many([lease.endpoint_id])).get(lease.endpoint_id)
    at = await worker.resources.clock.now()
    obstacle = Obstacle(MessageReason.CHANNEL_MISSING, "The channel is archived.")
    while messages := await workspace.messages.due(lease.endpoint_id, 2**53, BATCH_SIZE):
        survivors = await workspace.passes.existing([each.pass_id for each in messages])
        ended = [(message, end_by(message, obstacle, from_ms(now_ms))) for message in messages]
        if channel is not None:
            events = [
                (outcome_event(after, channel, survivors[after.pass_id], at), b"")
                for _, after in ended
                if after.pass_id in survivors
            ]
            await workspace.events.insert(events)
            worker.resources.wake_fold(workspace.id, {event.pass_id for event, _ in events})
        await workspace.messages.save(ended)
    await worker.channel_leases.go_idle(lease, None, now_ms)
