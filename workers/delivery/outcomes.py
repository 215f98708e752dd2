"""Ledger: what the tries at one webhook endpoint came to. It is decided here, and noted in the store by the courier."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from app.domain.values.instants import from_ms, to_ms
from app.domain.webhooks.deliveries import (
    IN_LANE,
    MOST_ATTEMPTS,
    Attempt,
    WebhookDelivery,
    WebhookDeliveryStatus,
    delivery_id,
    retry_ms,
)
from app.domain.webhooks.partitions import Head, Health
from app.outbound.webhook_sender import Sent
from app.telemetry import metrics

from .partitions import Lane, Lanes, Parcel

LOST = "Its activity is no longer in the log."


@dataclass
class Ledger:
    """The state of one endpoint's deliveries, and what of it is not noted yet: it is `open` while there is such.

    `waiting` are the messages that were set aside, or asked for once more, the one that is due first at the front. `gone`
    says that the endpoint wants no more, `retry_after_seconds` how long it last asked to be left alone.
    """

    endpoint_id: str
    lanes: Lanes
    health: Health
    chance: Callable[[], float]
    waiting: list[WebhookDelivery] = field(default_factory=list)
    made: list[WebhookDelivery] = field(default_factory=list)
    tried: list[tuple[WebhookDelivery, WebhookDelivery]] = field(default_factory=list)
    open: bool = False
    gone: bool = False
    retry_after_seconds: int = 0

    def lane_tried(self, lane: Lane, sent: Sent, now_ms: int) -> None:
        """What a try of the first message of a lane came to; to be noted before the lane sends its next."""
        parcel, head = lane.waiting[0], lane.head or Head(0, 0)
        lane.sending, self.open = False, True
        attempts = (*head.attempts, sent.attempt)[-MOST_ATTEMPTS:]
        tries = head.tries + 1
        if self._heard(sent, now_ms):
            _count("succeeded")
            self.made.append(self._delivery(parcel, WebhookDeliveryStatus.SUCCEEDED, tries, attempts, from_ms(now_ms)))
            lane.passed()
        elif self._told_nothing:
            _count("retried")
            lane.head = Head(head.tries, head.at_ms, attempts)
        else:
            at_ms = retry_ms(tries, now_ms, self.chance(), sent.retry_after_seconds)
            assert at_ms is not None, "a message fails for good only after it was set aside"
            if tries <= IN_LANE:
                _count("retried")
                lane.head = Head(tries, at_ms, attempts)
                return
            _count("set_aside")
            aside = self._delivery(parcel, WebhookDeliveryStatus.PENDING, tries, attempts, from_ms(now_ms))
            self._wait(replace(aside, due_at=from_ms(at_ms)))
            self.made.append(replace(aside, due_at=from_ms(at_ms)))
            lane.passed()

    def retried(self, delivery: WebhookDelivery, sent: Sent | None, now_ms: int) -> None:
        """What one more try of a message came to; None: there is nothing left to be sent."""
        at, self.open = from_ms(now_ms), True
        after = replace(delivery, tries=delivery.tries + 1, updated_at=at, due_at=None)
        if sent is None:
            _count("failed")
            lost = (*delivery.attempts, Attempt(at, None, LOST, 0))
            self.tried.append((delivery, replace(after, status=WebhookDeliveryStatus.FAILED, attempts=lost)))
            return
        after = replace(after, attempts=(*delivery.attempts, sent.attempt)[-MOST_ATTEMPTS:])
        if self._heard(sent, now_ms):
            _count("succeeded")
            after = replace(after, status=WebhookDeliveryStatus.SUCCEEDED)
        elif self._told_nothing:
            _count("retried")
            after = replace(after, tries=delivery.tries, due_at=delivery.due_at)
        else:
            due_ms = retry_ms(after.tries, now_ms, self.chance(), sent.retry_after_seconds)
            _count("failed" if due_ms is None else "retried")
            after = (
                replace(after, status=WebhookDeliveryStatus.FAILED)
                if due_ms is None
                else replace(after, due_at=from_ms(due_ms))
            )
        self.tried.append((delivery, after))
        if after.due_at is not None:
            self._wait(after)

    def due(self, now_ms: int, most: int) -> list[WebhookDelivery]:
        """Up to so many of the waiting messages whose next try is due; they wait no more."""
        count = 0
        while count < min(most, len(self.waiting)) and _due_ms(self.waiting[count]) <= now_ms:
            count += 1
        found, self.waiting = self.waiting[:count], self.waiting[count:]
        return found

    def waits_until(self, at: datetime) -> bool:
        """Whether a message waits whose next try is due by then."""
        return bool(self.waiting) and _due_ms(self.waiting[0]) <= to_ms(at)

    def well(self) -> None:
        """Takes the endpoint to be well until it shows otherwise."""
        self.health, self.gone, self.retry_after_seconds = Health(), False, 0

    def next_ms(self) -> int | None:
        """When the next try is due that is waited for; None while none is."""
        times = [head.at_ms for head in self.lanes.heads.values()]
        times += [_due_ms(each) for each in self.waiting[:1]]
        return min(times, default=None)

    def noted(self) -> None:
        """Everything is noted."""
        self.made, self.tried, self.open = [], [], False

    def knows(self, waiting: Iterable[WebhookDelivery]) -> None:
        """The messages that wait are these."""
        self.waiting = sorted(waiting, key=_order)

    @property
    def _told_nothing(self) -> bool:
        """Whether a failure tells nothing of its message, because the endpoint takes none."""
        return self.health.away or self.gone

    def _heard(self, sent: Sent, now_ms: int) -> bool:
        """Whether the message was taken; what that says of the endpoint is noted."""
        if not sent.succeeded:
            self.health = self.health.failed(now_ms)
            self.gone |= sent.gone
            self.retry_after_seconds = sent.retry_after_seconds
            return False
        if self.health.away:
            for lane in self.lanes.all:
                if lane.head is not None:
                    lane.head = replace(lane.head, at_ms=now_ms)
        self.well()
        return True

    def _wait(self, delivery: WebhookDelivery) -> None:
        insort(self.waiting, delivery, key=_order)

    def _delivery(
        self, parcel: Parcel, status: WebhookDeliveryStatus, tries: int, attempts: tuple[Attempt, ...], at: datetime
    ) -> WebhookDelivery:
        return WebhookDelivery(
            delivery_id(self.endpoint_id, parcel.pos),
            self.endpoint_id,
            parcel.pos,
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
    return _due_ms(delivery), delivery.pos


def _count(outcome: str) -> None:
    metrics.DELIVERIES.labels(outcome).inc()
