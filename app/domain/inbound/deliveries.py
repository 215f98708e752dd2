"""What inbound hooks receive: a message is one delivery, however often it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from app.domain.errors import Problem

MAX_PROBLEMS = 100
"""How many problems of one delivery are kept."""
MAX_HEADERS = 40
MAX_HEADER = 500
_KEPT = ("x-", "webhook-", "content-type")
_NEVER_KEPT = ("signature", "secret", "token", "auth", "key", "cookie", "forwarded")


class DeliveryStatus(StrEnum):
    """What became of what was delivered."""

    PROCESSED = "PROCESSED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class ItemProblem:
    """Why an item of a body, or the body as a whole where `index` is None, made no event."""

    problem: Problem
    index: int | None = None


@dataclass(frozen=True, slots=True)
class InboundDelivery:
    """One message of a sender, however often it was sent. `received_at` is in business time.

    `events` is how many events it has made so far, found ones included. While it is FAILED its body and the headers that
    mappings may read are kept, `rest` says which of the items at `place` are still to be recorded (None for all of them),
    and `named` which passes it speaks of, by external id.
    """

    id: str
    hook_id: str
    identity: str
    status: DeliveryStatus
    received_at: datetime
    attempts: int = 1
    events: int = 0
    problems: tuple[ItemProblem, ...] = ()
    place: str | None = None
    rest: tuple[int, ...] | None = None
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    named: tuple[str, ...] = ()


def select_headers(headers: Mapping[str, str], signature: str | None) -> dict[str, str]:
    """What of the headers is kept with a message that failed: those that may say what it is, and none that is secret."""
    kept = [
        (name, value)
        for name, value in headers.items()
        if name.startswith(_KEPT)
        and name != signature
        and len(value) <= MAX_HEADER
        and not any(word in name for word in _NEVER_KEPT)
    ]
    return dict(kept[:MAX_HEADERS])
