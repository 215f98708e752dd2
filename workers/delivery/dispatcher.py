"""Dispatcher: one worker's run at one webhook endpoint, from the claim to the rest.

A loop of one step: begin whatever may begin (a read of the log, the first message of each lane, messages whose next try is
due), wait until something of it is done, note all of that at once, and begin again. A lane sends its next message after its
last one is noted: who dies, or is taken for dead, repeats at most one message a lane.
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
from app.domain.errors import Unavailable
from app.domain.inbound.hooks import HookSecret
from app.domain.values.instants import from_ms
from app.domain.webhooks.deliveries import WebhookDelivery
from app.domain.webhooks.endpoints import DisabledReason, EndpointStatus, WebhookEndpoint
from app.domain.webhooks.messages import Message, render_message
from app.outbound.http_client import Poster
from app.outbound.webhook_sender import AttemptResult, send
from app.store.stages.endpoint_leases import LEASE_MS, Lease
from workers.worker import Worker

from .outcomes import AttemptOutcomes
from .partitions import LOG_BATCH_SIZE, Partition, Partitions

log = logging.getLogger(__name__)

MAX_CONCURRENT_RETRIES = 8
DEFERRED_BATCH_SIZE = 200
SAVE_INTERVAL_SECONDS = LEASE_MS / 3_000
"""How long nothing may be noted: the hold is renewed by it."""
STATE_INTERVAL_SECONDS = 1.0
"""How long a change of an endpoint may take to be seen by a run that is busy, at most."""
ENDPOINT_SLICE_SECONDS = 20.0
"""How long a run goes on while others have to wait for it to end."""
STOP_GRACE_SECONDS = 8.0
"""How long what is on the wire may take when the worker is to stop."""


class LeaseLost(Exception):
    """Somebody else holds the endpoint, or it is deleted: nothing more may be sent."""


class Dispatcher:
    """A run. `posting` sends, `woken` is set by who has news, `now_ms` is system time, `seconds` the most a try may take."""

    def __init__(
        self,
        worker: Worker,
        hold: Lease,
        posting: Poster,
        woken: asyncio.Event,
        now_ms: Callable[[], int],
        chance: Callable[[], float],
        seconds: float,
    ) -> None:
        self._worker, self._hold, self._posting, self._woken = worker, hold, posting, woken
        self._now_ms, self._chance, self._seconds = now_ms, chance, seconds
        self._workspace = worker.resources.workspace(hold.workspace_id)
        self._lanes = Partitions(hold.positions, hold.heads)
        self._ledger = AttemptOutcomes(hold.endpoint_id, self._lanes, hold.health, chance)
        self._under_way: dict[asyncio.Task[Any], Callable[[Any], None]] = {}
        self._retrying: set[str] = set()
        self._horizon: datetime | None = None
        """Of the messages that wait only those were read whose next try is due by then; None: all of them."""
        self._endpoint: WebhookEndpoint | None = None
        self._secrets: Sequence[HookSecret] = ()
        self._query: ActivityQuery | None = None
        self._shown: Callable[[Activity], bool] = match_none
        self._reading = False
        self._end: int | None = None
        """From where on the log was empty when it was last read; None: that is not known."""
        self._may_probe = hold.health.circuit_open
        self._stale, self._looked = True, 0.0
        self._begun = self._noted = time.monotonic()
        self._stop_by: float | None = None

    async def run(self) -> None:
        """Delivers until there is nothing to do, or no more may be done. Raises Unavailable; safe to repeat."""
        try:
            while not await self._step():
                pass
        except LeaseLost:
            deleted = await self._workspace.forget_if_deleted(self._hold.endpoint_id)
            log.info("%s is %s", self._hold.endpoint_id, "deleted" if deleted else "delivered to by another")
        except Unavailable:
            # Let go as it was last noted; if that cannot be said either, the lease ends it.
            with contextlib.suppress(Unavailable):
                await self._worker.endpoint_leases.release(self._hold, self._now_ms())
            raise
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _step(self) -> bool:
        """Begins what may begin and waits for some of it; whether the endpoint was let go."""
        if self._stale and (not self._under_way or time.monotonic() - self._looked >= STATE_INTERVAL_SECONDS):
            await self._look()
        self._begin(self._now_ms())
        if self._overdue() or not (self._under_way or self._stale):
            return await self._let_go()
        if self._under_way:
            await self._something_done()
        if self._ledger.is_unsaved:
            await self._workspace.deliveries.insert(self._ledger.new_deliveries)
            await self._workspace.deliveries.save(self._ledger.changed_deliveries)
            if self._idle:
                # Letting go notes the rest.
                self._ledger.mark_saved()
                return False
        if self._ledger.is_unsaved or time.monotonic() - self._noted >= SAVE_INTERVAL_SECONDS:
            await self._note()
        return False

    async def _look(self) -> None:
        """Reads the endpoint as it is now, and what waits for another try."""
        endpoint_id = self._hold.endpoint_id
        found, waiting = await asyncio.gather(
            self._workspace.webhooks.signing(endpoint_id),
            self._workspace.deliveries.deferred(endpoint_id, DEFERRED_BATCH_SIZE),
        )
        self._ledger.set_deferred(each for each in waiting if each.id not in self._retrying)
        self._horizon = waiting[-1].due_at if len(waiting) == DEFERRED_BATCH_SIZE else None
        before, (self._endpoint, self._secrets) = self._endpoint, found or (None, ())
        query = None if self._endpoint is None else await self._workspace.of_whole_pass(self._endpoint.filter)
        if before is not None and self._endpoint != before:
            # It may be another address, or enabled again: how it was says nothing any more.
            self._ledger.reset_health()
        if self._endpoint != before or query != self._query:
            self._query, self._end = query, None
            self._shown = match_none if query is None else query.matches
            self._lanes.drop_messages()
        self._stale, self._looked = False, time.monotonic()

    def _begin(self, now_ms: int) -> None:
        if now_ms >= self._hold.free_ms:
            raise LeaseLost
        if self._ends(now_ms):
            return
        if self._ledger.health.circuit_open:
            if self._may_probe and not self._under_way:
                self._probe(now_ms)
            return
        self._read_on()
        for lane in self._lanes.all:
            if lane.can_send(now_ms):
                self._send(lane)
        for delivery in self._ledger.take_due(now_ms, MAX_CONCURRENT_RETRIES - len(self._retrying)):
            self._retry(delivery)
        if self._horizon is not None and not self._ledger.has_due_by(self._horizon):
            self._stale = True

    def _ends(self, now_ms: int) -> bool:
        """Whether nothing more is to be begun."""
        others_wait = self._worker.has_no_dispatcher_left and time.monotonic() - self._begun > ENDPOINT_SLICE_SECONDS
        return (
            self._worker.stopping
            or others_wait
            or not self._hold.is_on
            or self._endpoint is None
            or self._endpoint.status is EndpointStatus.DISABLED
            or self._reason(now_ms) is not None
        )

    def _reason(self, now_ms: int) -> DisabledReason | None:
        """Why the endpoint is to be disabled, if it is; never for long silence alone, before it was tried once more."""
        if self._ledger.is_gone:
            return DisabledReason.GONE
        given_up = self._ledger.health.is_given_up(now_ms) and not self._may_probe
        return DisabledReason.FAILING if given_up else None

    def _probe(self, now_ms: int) -> None:
        """Sends one message to an endpoint that is away, each time of another lane: none of them stands for all."""
        lanes = [lane for lane in self._lanes.all if lane.messages]
        if lanes:
            self._may_probe = False
            self._send(lanes[self._ledger.health.probe_pauses % len(lanes)])
        elif not self._read_on():
            for delivery in self._ledger.take_due(now_ms, 1):
                self._may_probe = False
                self._retry(delivery)

    def _read_on(self) -> bool:
        """Reads on in the log, unless that is under way or of no use; whether it does."""
        start = self._lanes.next_to_read()
        if self._reading or start is None or (self._end is not None and start >= self._end):
            return False
        self._reading, query = True, self._query
        self._start(self._read(start), lambda read: self._fed(query, start, *read))
        return True

    async def _read(self, start: int) -> tuple[list[Activity], Mapping[str, str]]:
        activities = await self._workspace.activities.after(start - 1, LOG_BATCH_SIZE)
        shown = {activity.pass_id for activity in activities if self._shown(activity)}
        # Their own names: that of who answers for them may be another at the next try, and the message is the same at each.
        return activities, await self._workspace.passes.own_external_ids(shown) if shown else {}

    def _fed(
        self, query: ActivityQuery | None, start: int, activities: Sequence[Activity], names: Mapping[str, str]
    ) -> None:
        self._reading = False
        if self._query != query:
            return
        end = activities[-1].position + 1 if activities else start
        self._lanes.feed(start, activities, end, self._shown, names)
        self._end = end if len(activities) < LOG_BATCH_SIZE else None

    def _send(self, lane: Partition) -> None:
        lane.is_sending, work = True, self._sent(lane.messages[0].message)
        self._start(work, lambda sent: self._ledger.record_attempt(lane, sent, self._now_ms()))

    def _retry(self, delivery: WebhookDelivery) -> None:
        def tried(sent: AttemptResult | None) -> None:
            self._retrying.discard(delivery.id)
            self._ledger.record_retry(delivery, sent, self._now_ms())

        self._retrying.add(delivery.id)
        self._start(self._sent_again(delivery), tried)

    async def _sent_again(self, delivery: WebhookDelivery) -> AttemptResult | None:
        for activity in (await self._workspace.activities.get_many([delivery.activity_id])).values():
            names = await self._workspace.passes.own_external_ids([activity.pass_id])
            return await self._sent(render_message(activity, names.get(activity.pass_id)))
        return None

    async def _sent(self, message: Message) -> AttemptResult:
        assert self._endpoint is not None, "nothing is begun for an endpoint that is gone"
        return await send(self._posting, self._endpoint.url, self._secrets, message, self._now_ms, self._seconds)

    def _start(self, work: Coroutine[Any, Any, Any], then: Callable[[Any], None]) -> None:
        self._under_way[asyncio.create_task(work)] = then

    async def _something_done(self) -> None:
        now_ms, next_ms = self._now_ms(), self._ledger.next_ms()
        most = SAVE_INTERVAL_SECONDS if self._stop_by is None else max(0.0, self._stop_by - time.monotonic())
        wait = most if next_ms is None or next_ms <= now_ms else min(most, (next_ms - now_ms) / 1000)
        news = asyncio.create_task(self._woken.wait())
        done, _ = await asyncio.wait({*self._under_way, news}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
        if news in done:
            self._woken.clear()
            self._end, self._noted = None, 0.0
        news.cancel()
        for task in done - {news}:
            self._under_way.pop(task)(task.result())

    @property
    def _idle(self) -> bool:
        """Whether all that is left is to let go."""
        nothing_left = self._end is not None and not any(lane.messages for lane in self._lanes.all)
        return nothing_left and not self._under_way and not self._stale

    async def _note(self) -> None:
        """Notes how far everything is, keeps the hold, and hears whether something was said. Raises LeaseLost."""
        hold = await self._worker.endpoint_leases.save_progress(self._state, self._now_ms())
        if hold is None:
            raise LeaseLost
        if hold.work_token != self._hold.work_token:
            self._stale, self._end = True, None
        self._hold, self._noted = hold, time.monotonic()
        self._ledger.mark_saved()

    @property
    def _state(self) -> Lease:
        return replace(self._hold, positions=self._lanes.positions, heads=self._lanes.heads, health=self._ledger.health)

    def _overdue(self) -> bool:
        """Whether the worker stops, and what is on the wire has had its time."""
        if self._worker.stopping and self._stop_by is None:
            self._stop_by = time.monotonic() + STOP_GRACE_SECONDS
        return self._stop_by is not None and time.monotonic() >= self._stop_by

    async def _let_go(self) -> bool:
        """Whether the endpoint was let go: not where something was said meanwhile."""
        runs, state, now_ms = self._worker.endpoint_leases, self._state, self._now_ms()
        if (reason := self._reason(now_ms)) is not None:
            await self._workspace.webhooks.disable(state.endpoint_id, reason, from_ms(now_ms))
            log.warning("%s is disabled: %s", state.endpoint_id, reason)
            # Looked at again, it is disabled, unless somebody has enabled it at once.
            self._ledger.reset_health()
            self._stale = True
            return False
        if self._endpoint is None or self._endpoint.status is EndpointStatus.DISABLED:
            free = await runs.switch_off(state)
        elif self._ends(now_ms):
            await runs.release(state, now_ms)
            return True
        elif state.health.circuit_open and not self._may_probe:
            until_ms = now_ms + state.health.probe_delay_ms(self._chance(), self._ledger.retry_after_seconds)
            free = await runs.go_idle(replace(state, health=state.health.after_probe_pause()), until_ms, until_ms)
        else:
            free = await runs.go_idle(state, self._ledger.next_ms(), now_ms)
        if not free:
            await self._note()
        return free
