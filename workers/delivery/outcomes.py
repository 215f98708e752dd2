"""AttemptOutcomes: what the tries at one webhook endpoint came to. It is decided here, and noted in the store by the courier."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from app.domain.values.instants import from_ms, to_ms
from app.domain.webhooks.deliveries import (
    MAX_ATTEMPTS_SHOWN,
    RETRIES_IN_PARTITION,
    Attempt,
    WebhookDelivery,
    WebhookDeliveryStatus,
    delivery_id,
    retry_delay_ms,
)
from app.domain.webhooks.partitions import BlockedHead, EndpointHealth
from app.outbound.webhook_sender import AttemptResult
from app.telemetry import metrics

from .partitions import Partition, Partitions, QueuedMessage

ACTIVITY_MISSING = "Its activity is no longer in the log."


@dataclass
class AttemptOutcomes:
    """The state of one endpoint's deliveries, and what of it is not noted yet: it is `open` while there is such.

    `waiting` are the messages that were set aside, or asked for once more, the one that is due first at the front. `gone`
    says that the endpoint wants no more, `retry_after_seconds` how long it last asked to be left alone.
    """

    endpoint_id: str
    partitions: Partitions
    health: EndpointHealth
    chance: Callable[[], float]
    deferred: list[WebhookDelivery] = field(default_factory=list)
    new_deliveries: list[WebhookDelivery] = field(default_factory=list)
    changed_deliveries: list[tuple[WebhookDelivery, WebhookDelivery]] = field(default_factory=list)
    is_unsaved: bool = False
    is_gone: bool = False
    retry_after_seconds: int = 0

    def record_attempt(self, lane: Partition, sent: AttemptResult, now_ms: int) -> None:
        """What a try of the first message of a lane came to; to be noted before the lane sends its next."""
        parcel, head = lane.messages[0], lane.head or BlockedHead(0, 0)
        lane.is_sending, self.is_unsaved = False, True
        attempts = (*head.attempts, sent.attempt)[-MAX_ATTEMPTS_SHOWN:]
        tries = head.attempt_count + 1
        if self._record_health(sent, now_ms):
            _count("succeeded")
            self.new_deliveries.append(
                self._delivery(parcel, WebhookDeliveryStatus.SUCCEEDED, tries, attempts, from_ms(now_ms))
            )
            lane.advance()
        elif self._says_nothing_of_message:
            _count("retried")
            lane.head = BlockedHead(head.attempt_count, head.retry_at_ms, attempts)
        else:
            at_ms = retry_delay_ms(tries, now_ms, self.chance(), sent.retry_after_seconds)
            assert at_ms is not None, "a message fails for good only after it was set aside"
            if tries <= RETRIES_IN_PARTITION:
                _count("retried")
                lane.head = BlockedHead(tries, at_ms, attempts)
                return
            _count("set_aside")
            aside = self._delivery(parcel, WebhookDeliveryStatus.PENDING, tries, attempts, from_ms(now_ms))
            self._defer(replace(aside, due_at=from_ms(at_ms)))
            self.new_deliveries.append(replace(aside, due_at=from_ms(at_ms)))
            lane.advance()

    def record_retry(self, delivery: WebhookDelivery, sent: AttemptResult | None, now_ms: int) -> None:
        """What one more try of a message came to; None: there is nothing left to be sent."""
        at, self.is_unsaved = from_ms(now_ms), True
        after = replace(delivery, attempt_count=delivery.attempt_count + 1, updated_at=at, due_at=None)
        if sent is None:
            _count("failed")
            lost = (*delivery.attempts, Attempt(at, None, ACTIVITY_MISSING, 0))
            self.changed_deliveries.append(
                (delivery, replace(after, status=WebhookDeliveryStatus.FAILED, attempts=lost))
            )
            return
        after = replace(after, attempts=(*delivery.attempts, sent.attempt)[-MAX_ATTEMPTS_SHOWN:])
        if self._record_health(sent, now_ms):
            _count("succeeded")
            after = replace(after, status=WebhookDeliveryStatus.SUCCEEDED)
        elif self._says_nothing_of_message:
            _count("retried")
            after = replace(after, attempt_count=delivery.attempt_count, due_at=delivery.due_at)
        else:
            due_ms = retry_delay_ms(after.attempt_count, now_ms, self.chance(), sent.retry_after_seconds)
            _count("failed" if due_ms is None else "retried")
            after = (
                replace(after, status=WebhookDeliveryStatus.FAILED)
                if due_ms is None
                else replace(after, due_at=from_ms(due_ms))
            )
        self.changed_deliveries.append((delivery, after))
        if after.due_at is not None:
            self._defer(after)

    def take_due(self, now_ms: int, most: int) -> list[WebhookDelivery]:
        """Up to so many of the waiting messages whose next try is due; they wait no more."""
        count = 0
        while count < min(most, len(self.deferred)) and _due_ms(self.deferred[count]) <= now_ms:
            count += 1
        found, self.deferred = self.deferred[:count], self.deferred[count:]
        return found

    def has_due_by(self, at: datetime) -> bool:
        """Whether a message waits whose next try is due by then."""
        return bool(self.deferred) and _due_ms(self.deferred[0]) <= to_ms(at)

    def reset_health(self) -> None:
        """Takes the endpoint to be well until it shows otherwise."""
        self.health, self.is_gone, self.retry_after_seconds = EndpointHealth(), False, 0

    def next_ms(self) -> int | None:
        """When the next try is due that is waited for; None while none is."""
        times = [head.retry_at_ms for head in self.partitions.heads.values()]
        times += [_due_ms(each) for each in self.deferred[:1]]
        return min(times, default=None)

    def mark_saved(self) -> None:
        """Everything is noted."""
        self.new_deliveries, self.changed_deliveries, self.is_unsaved = [], [], False

    def set_deferred(self, waiting: Iterable[WebhookDelivery]) -> None:
        """The messages that wait are these."""
        self.deferred = sorted(waiting, key=_order)

    @property
    def _says_nothing_of_message(self) -> bool:
        """Whether a failure tells nothing of its message, because the endpoint takes none."""
        return self.health.circuit_open or self.is_gone

    def _record_health(self, sent: AttemptResult, now_ms: int) -> bool:
        """Whether the message was taken; what that says of the endpoint is noted."""
        if not sent.succeeded:
            self.health = self.health.after_failure(now_ms)
            self.is_gone |= sent.gone
            self.retry_after_seconds = sent.retry_after_seconds
            return False
        if self.health.circuit_open:
            for lane in self.partitions.all:
                if lane.head is not None:
                    lane.head = replace(lane.head, retry_at_ms=now_ms)
        self.reset_health()
        return True

    def _defer(self, delivery: WebhookDelivery) -> None:
        insort(self.deferred, delivery, key=_order)

    def _delivery(
        self,
        parcel: QueuedMessage,
        status: WebhookDeliveryStatus,
        tries: int,
        attempts: tuple[Attempt, ...],
        at: datetime,
    ) -> WebhookDelivery:
        return WebhookDelivery(
            delivery_id(self.endpoint_id, parcel.position),
            self.endpoint_id,
            parcel.position,
            parcel.activity_id,
            parcel.type,
            parcel.recorded_at,
            status,
            tries,
            attempts,
            at,
            at,
        )


def _due_ms(delivery: WebhookDelivery) -> int:
    assert delivery.due_at is not None, "what waits has an instant at which it is due"
    return to_ms(delivery.due_at)


def _order(delivery: WebhookDelivery) -> tuple[int, int]:
    return _due_ms(delivery), delivery.position


def _count(outcome: str) -> None:
    metrics.DELIVERIES.labels(outcome).inc()
