"""Deliveries: the results of messages to webhook endpoints, and the retry schedule of a message that failed.

Source of the schedule: the Standard Webhooks specification. The last attempt is 75 h 35 min after the first one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

from app.domain.activities import Activity

RETRY_DELAYS_SECONDS = (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""The delay from each failure of a message to its next attempt. After one failure more, the delivery is FAILED."""
RETRIES_IN_PARTITION = 3
"""Retries of a message while its partition waits for it. After the next failure, the message is deferred."""
JITTER = 0.2
"""The largest share by which a delay is extended at random, so that messages that failed together spread out."""
MAX_RETRY_AFTER_SECONDS = 3_600
"""The longest `Retry-After` of an endpoint that is honoured."""
MAX_ATTEMPTS_SHOWN = 10
"""Attempts that a delivery keeps: the last ones."""
DELIVERY_TTL_SECONDS = 30 * 86_400
"""How long a delivery is kept after its last change. A PENDING delivery is kept until it has its result."""


class WebhookDeliveryStatus(StrEnum):
    """The result of a message to a webhook endpoint."""

    SUCCEEDED = "SUCCEEDED"
    PENDING = "PENDING"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One HTTP request that delivered a message, or failed to: the status code, the error and the duration.

    `at` is the start of the request in system time. `status_code` is None if the endpoint did not answer.
    """

    at: datetime
    status_code: int | None
    error: str | None
    duration_ms: int


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """The result of one activity at one endpoint, without the body of the message.

    Instants are system time, except `recorded_at`: the activity's time of recording by the business clock. `due_at` is
    the time of the next attempt, set only while the delivery is PENDING. `attempt_count` counts the attempts since the
    message was last queued: a replay sets it back to 0.
    """

    id: str
    endpoint_id: str
    position: int
    activity_id: str
    type: str
    recorded_at: datetime
    status: WebhookDeliveryStatus
    attempt_count: int
    attempts: tuple[Attempt, ...]
    created_at: datetime
    updated_at: datetime
    due_at: datetime | None = None

    @classmethod
    def pending(
        cls,
        endpoint_id: str,
        activity: Activity,
        *,
        created_at: datetime,
        updated_at: datetime,
        due_at: datetime | None,
        attempt_count: int = 0,
        attempts: tuple[Attempt, ...] = (),
    ) -> WebhookDelivery:
        """Return the PENDING delivery of an activity to an endpoint."""
        return cls(
            id=delivery_id(endpoint_id, activity.position),
            endpoint_id=endpoint_id,
            position=activity.position,
            activity_id=activity.id,
            type=activity.type,
            recorded_at=activity.recorded_at,
            status=WebhookDeliveryStatus.PENDING,
            attempt_count=attempt_count,
            attempts=attempts,
            created_at=created_at,
            updated_at=updated_at,
            due_at=due_at,
        )


def delivery_id(endpoint_id: str, position: int) -> str:
    """Return the id of the delivery of an activity, by its position, to an endpoint."""
    return f"{endpoint_id}:{position}"


def next_attempt_ms(failures: int, now_ms: int, chance: float, retry_after_seconds: int = 0) -> int | None:
    """Return the time of the next attempt of a message that failed just now, or None after its last attempt.

    `failures` counts all failures of the message, this one included. `chance` is a random number from 0 to 1 that
    decides the jitter. `retry_after_seconds` is the endpoint's `Retry-After`: it can only delay the attempt, by up to
    one hour.
    """
    if failures > len(RETRY_DELAYS_SECONDS):
        return None
    seconds = RETRY_DELAYS_SECONDS[failures - 1] * (1 + JITTER * chance)
    return now_ms + int(1000 * max(seconds, min(retry_after_seconds, MAX_RETRY_AFTER_SECONDS)))


def parse_retry_after(text: str | None, now: datetime) -> int:
    """Return the seconds that a `Retry-After` header asks to wait: a number, or a date that is compared with `now`.

    Returns 0 for a missing or unreadable header and for a date in the past.
    """
    text = (text or "").strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return int(text)
    try:
        return max(0, int((parsedate_to_datetime(text) - now).total_seconds()))
    except (ValueError, TypeError, OverflowError):
        return 0


@dataclass(frozen=True, slots=True)
class DeliveryQuery:
    """A filter for the deliveries to one endpoint; an empty field matches every delivery.

    Positions of the activities: `after` is exclusive, `upto` inclusive. Times of recording: `recorded_after` is
    inclusive, `recorded_before` exclusive.
    """

    endpoint_id: str
    statuses: Sequence[WebhookDeliveryStatus] = ()
    types: Sequence[str] = ()
    after: int | None = None
    upto: int | None = None
    recorded_after: datetime | None = None
    recorded_before: datetime | None = None

    def matches(self, delivery: WebhookDelivery) -> bool:
        """Return whether a delivery to the endpoint passes the filter."""
        return (
            (not self.statuses or delivery.status in self.statuses)
            and (not self.types or delivery.type in self.types)
            and (self.after is None or delivery.position > self.after)
            and (self.upto is None or delivery.position <= self.upto)
            and (self.recorded_after is None or delivery.recorded_at >= self.recorded_after)
            and (self.recorded_before is None or delivery.recorded_at < self.recorded_before)
        )
