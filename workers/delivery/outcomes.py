"""Results of attempts at one webhook endpoint: the next state of partitions, deliveries and circuit.

This module decides and does no I/O. The dispatcher sends the messages and stores the results.
"""

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
    next_attempt_ms,
)
from app.domain.webhooks.endpoints import DisabledReason
from app.domain.webhooks.messages import Message
from app.domain.webhooks.partitions import BlockedHead, EndpointHealth
from app.outbound.webhook_sender import AttemptResult
from app.telemetry import metrics

from .partitions import Partition, Partitions

ACTIVITY_MISSING = "The activity of the message is no longer in the log."


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """A message that waits in its partition, with the fields of its activity that a delivery stores."""

    position: int
    activity_id: str
    type: str
    recorded_at: datetime
    message: Message

    @property
    def size_bytes(self) -> int:
        """The size of the body."""
        return len(self.message.body)


@dataclass
class AttemptOutcomes:
    """The results of attempts at one endpoint, and which of them are not stored yet.

    `deferred` are the PENDING deliveries: deferred or replayed messages, in order of their next attempt.
    `new_deliveries` and `changed_deliveries` (before, after) are to be stored. `is_unsaved` is true if these or the
    partitions have changes that are not stored. `is_gone` is true once the endpoint answers 410. `retry_after_seconds`
    is its last `Retry-After`. `last_attempt` is the last attempt of any message.
    """

    endpoint_id: str
    partitions: Partitions[QueuedMessage]
    health: EndpointHealth
    chance: Callable[[], float]
    deferred: list[WebhookDelivery] = field(default_factory=list)
    new_deliveries: list[WebhookDelivery] = field(default_factory=list)
    changed_deliveries: list[tuple[WebhookDelivery, WebhookDelivery]] = field(default_factory=list)
    is_unsaved: bool = False
    is_gone: bool = False
    retry_after_seconds: int = 0
    last_attempt: Attempt | None = None

    def record_attempt(self, partition: Partition[QueuedMessage], result: AttemptResult, now_ms: int) -> None:
        """Apply the result of an attempt of a partition's first message.

        A success, and a failure after three retries, remove the message from the partition. While the circuit is open,
        a failure does not count against the message. Store the results before the partition sends its next message.
        """
        message = partition.messages[0]
        head = partition.head or BlockedHead(0, 0, to_ms(result.attempt.at), activity_id=message.activity_id)
        partition.is_sending, self.is_unsaved = False, True
        attempts = (*head.attempts, result.attempt)[-MAX_ATTEMPTS_SHOWN:]
        attempt_count = head.attempt_count + 1
        if self._record_health(result, now_ms):
            _count_attempt("succeeded")
            self.new_deliveries.append(
                self._make_delivery(message, WebhookDeliveryStatus.SUCCEEDED, attempt_count, attempts, from_ms(now_ms))
            )
            partition.advance()
        elif self._is_endpoint_failing:
            _count_attempt("retried")
            partition.head = replace(head, attempts=attempts)
        else:
            at_ms = next_attempt_ms(attempt_count, now_ms, self.chance(), result.retry_after_seconds)
            assert at_ms is not None, "a message becomes FAILED only after it was deferred"
            if attempt_count <= RETRIES_IN_PARTITION:
                _count_attempt("retried")
                partition.head = replace(head, attempt_count=attempt_count, retry_at_ms=at_ms, attempts=attempts)
                return
            _count_attempt("set_aside")
            delivery = self._make_delivery(
                message, WebhookDeliveryStatus.PENDING, attempt_count, attempts, from_ms(now_ms)
            )
            self._defer(replace(delivery, due_at=from_ms(at_ms)))
            self.new_deliveries.append(replace(delivery, due_at=from_ms(at_ms)))
            partition.advance()

    def record_retry(self, delivery: WebhookDelivery, result: AttemptResult | None, now_ms: int) -> None:
        """Apply the result of an attempt of a deferred message, or None if its activity is no longer in the log."""
        at, self.is_unsaved = from_ms(now_ms), True
        after = replace(delivery, attempt_count=delivery.attempt_count + 1, updated_at=at, due_at=None)
        if result is None:
            _count_attempt("failed")
            missing = Attempt(at=at, status_code=None, error=ACTIVITY_MISSING, duration_ms=0)
            after = replace(after, status=WebhookDeliveryStatus.FAILED, attempts=(*delivery.attempts, missing))
            self.changed_deliveries.append((delivery, after))
            return
        after = replace(after, attempts=(*delivery.attempts, result.attempt)[-MAX_ATTEMPTS_SHOWN:])
        if self._record_health(result, now_ms):
            _count_attempt("succeeded")
            after = replace(after, status=WebhookDeliveryStatus.SUCCEEDED)
        elif self._is_endpoint_failing:
            _count_attempt("retried")
            after = replace(after, attempt_count=delivery.attempt_count, due_at=delivery.due_at)
        else:
            due_ms = next_attempt_ms(after.attempt_count, now_ms, self.chance(), result.retry_after_seconds)
            _count_attempt("failed" if due_ms is None else "retried")
            after = (
                replace(after, status=WebhookDeliveryStatus.FAILED)
                if due_ms is None
                else replace(after, due_at=from_ms(due_ms))
            )
        self.changed_deliveries.append((delivery, after))
        if after.due_at is not None:
            self._defer(after)

    def take_due(self, now_ms: int, limit: int) -> list[WebhookDelivery]:
        """Remove and return the deferred deliveries whose next attempt is due, `limit` at most."""
        count = 0
        while count < min(limit, len(self.deferred)) and _due_ms(self.deferred[count]) <= now_ms:
            count += 1
        found, self.deferred = self.deferred[:count], self.deferred[count:]
        return found

    def has_due_by(self, at: datetime) -> bool:
        """Return whether the next attempt of a deferred delivery is due by then."""
        return bool(self.deferred) and _due_ms(self.deferred[0]) <= to_ms(at)

    def reset_health(self) -> None:
        """Close the circuit and forget failures and `Retry-After` of the endpoint."""
        self.health, self.is_gone, self.retry_after_seconds = EndpointHealth(), False, 0

    def find_disabled_reason(self, now_ms: int, *, can_probe: bool) -> DisabledReason | None:
        """Return why the endpoint is to be disabled, or None. `can_probe` is false after the probe of the run.

        A circuit that was open for too long is a reason only after one more failed probe: the workers may have been
        down.
        """
        if self.is_gone:
            return DisabledReason.GONE
        return DisabledReason.FAILING if self.health.is_given_up(now_ms) and not can_probe else None

    def next_retry_ms(self) -> int | None:
        """Return the time of the next retry, in a partition or deferred, or None if there is none."""
        times = [head.retry_at_ms for head in self.partitions.heads.values()]
        times += [_due_ms(each) for each in self.deferred[:1]]
        return min(times, default=None)

    def mark_saved(self) -> None:
        """Mark all results as stored."""
        self.new_deliveries, self.changed_deliveries, self.is_unsaved = [], [], False

    def set_deferred(self, deliveries: Iterable[WebhookDelivery]) -> None:
        """Replace the deferred deliveries."""
        self.deferred = sorted(deliveries, key=_due_order)

    @property
    def _is_endpoint_failing(self) -> bool:
        """Whether the endpoint accepts no message, so that a failure does not count against its message."""
        return self.health.circuit_open or self.is_gone

    def _record_health(self, result: AttemptResult, now_ms: int) -> bool:
        """Apply a result to the health of the endpoint and return whether the endpoint accepted the message."""
        self.last_attempt = result.attempt
        if not result.succeeded:
            self.health = self.health.after_failure(now_ms)
            self.is_gone |= result.is_gone
            self.retry_after_seconds = result.retry_after_seconds
            return False
        if self.health.circuit_open:
            # The circuit closes now, so the first messages of all partitions are sent at once.
            for partition in self.partitions.all:
                if partition.head is not None:
                    partition.head = replace(partition.head, retry_at_ms=now_ms)
        self.reset_health()
        return True

    def _defer(self, delivery: WebhookDelivery) -> None:
        insort(self.deferred, delivery, key=_due_order)

    def _make_delivery(
        self,
        message: QueuedMessage,
        status: WebhookDeliveryStatus,
        attempt_count: int,
        attempts: tuple[Attempt, ...],
        at: datetime,
    ) -> WebhookDelivery:
        return WebhookDelivery(
            id=delivery_id(self.endpoint_id, message.position),
            endpoint_id=self.endpoint_id,
            position=message.position,
            activity_id=message.activity_id,
            type=message.type,
            recorded_at=message.recorded_at,
            status=status,
            attempt_count=attempt_count,
            attempts=attempts,
            created_at=at,
            updated_at=at,
        )


def _due_ms(delivery: WebhookDelivery) -> int:
    assert delivery.due_at is not None, "a deferred delivery has the time of its next attempt"
    return to_ms(delivery.due_at)


def _due_order(delivery: WebhookDelivery) -> tuple[int, int]:
    return _due_ms(delivery), delivery.position


def _count_attempt(outcome: str) -> None:
    metrics.DELIVERIES.labels(outcome).inc()
