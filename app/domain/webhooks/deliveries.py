"""Deliveries: what became of the messages to webhook endpoints, and when the next try of one that failed is made.

Source of the schedule: the Standard Webhooks specification; its last retry is made 75 h 35 min after the first try.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

RETRY_DELAYS_SECONDS = (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""How long after each failure the next try is made."""
RETRIES_IN_PARTITION = 3
"""So many retries keep the messages behind one in their lane waiting; then it is set aside, and they go on."""
JITTER = 0.2
"""By how much of itself a delay may be longer: what failed together is not tried again together."""
MAX_RETRY_AFTER_SECONDS = 3_600
MAX_ATTEMPTS_SHOWN = 10
"""How many tries are told of, the last ones."""
DELIVERY_TTL_SECONDS = 30 * 86_400
"""How long it is remembered what became of a message; one that waits for its next try is kept until that is over."""


class WebhookDeliveryStatus(StrEnum):
    """What became of a message to a webhook endpoint."""

    SUCCEEDED = "SUCCEEDED"
    PENDING = "PENDING"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try: what the endpoint answered, or why it did not, and how long that took. `at` is in system time."""

    at: datetime
    status_code: int | None
    error: str | None
    duration_ms: int


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """What became of one activity at one endpoint. Instants are system time; `due_at` is there while it is PENDING.

    `recorded_at` is the activity's, on the business clock. `tries` counts since it was last asked for; a replay begins anew.
    It holds nothing of what the message said.
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


def delivery_id(endpoint_id: str, pos: int) -> str:
    """The id of what became of the activity at `pos` at an endpoint."""
    return f"{endpoint_id}:{pos}"


def retry_delay_ms(failures: int, now_ms: int, chance: float, retry_after_seconds: int = 0) -> int | None:
    """When a message is tried again that failed so many times, the last time now; None: never.

    `chance` is a random number from 0 to 1. The endpoint's own wish is honoured up to an hour.
    """
    if failures > len(RETRY_DELAYS_SECONDS):
        return None
    seconds = RETRY_DELAYS_SECONDS[failures - 1] * (1 + JITTER * chance)
    return now_ms + int(1000 * max(seconds, min(retry_after_seconds, MAX_RETRY_AFTER_SECONDS)))


def parse_retry_after(text: str | None, now: datetime) -> int:
    """The seconds that a Retry-After header asks to wait, also one with a date; 0 without one, and for anything else."""
    text = (text or "").strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return int(text)
    try:
        return max(0, int((parsedate_to_datetime(text) - now).total_seconds()))
    except (ValueError, TypeError, OverflowError):
        return 0


@dataclass(frozen=True, slots=True)
class DeliveryQuery:
    """Which deliveries to an endpoint to list; an empty part means any.

    Of activities behind position `after`, up to `upto`; recorded at `recorded_after` or later, before `recorded_before`.
    """

    endpoint_id: str
    statuses: Sequence[WebhookDeliveryStatus] = ()
    types: Sequence[str] = ()
    after: int | None = None
    upto: int | None = None
    recorded_after: datetime | None = None
    recorded_before: datetime | None = None
