"""Inbound deliveries: one for each message to an inbound hook, however often its sender repeats the message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from app.domain.errors import Code, Problem
from app.domain.events import corrections

MAX_PROBLEMS = 100
"""Problems that one delivery keeps."""
MAX_HEADERS = 40
"""Headers that one delivery keeps."""
MAX_HEADER = 500
"""Characters of a header that is kept; a delivery does not keep longer ones."""
UNKNOWN_NAMES = ""
"""Name of a FAILED delivery that may name any pass: its body is not JSON, or has too many names. No id is empty."""
FIRST_RERUN_SECONDS = 10
"""The time after which a message that waits for the event that it corrects is run again for the first time."""
MAX_RERUN_SECONDS = 86_400
"""The longest time between two reruns of a waiting message. Each time is three times as long as the one before."""
_KEPT = ("x-", "webhook-", "content-type")
_NEVER_KEPT = ("signature", "secret", "token", "auth", "key", "cookie", "forwarded")


class DeliveryStatus(StrEnum):
    """The result of a message to an inbound hook."""

    PROCESSED = "PROCESSED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class ItemProblem:
    """The reason why an item of a body made no event. `index` is None if the whole body could not be mapped."""

    problem: Problem
    index: int | None = None


@dataclass(frozen=True, slots=True)
class InboundDelivery:
    """One message of a sender, however often it was sent. `received_at` is in business time.

    `events` counts the events that the message has made so far, including events that were stored before.
    `headers_hash` is a hash of the headers that the mapping read; "" if it read none, or if the message has a signed
    id. Only a FAILED delivery has the other fields:

    - `body` and `headers`: the message, so that an operator can run it again;
    - `remaining_items`: the indexes of the items at `items_path` that are not recorded yet, or None for all items;
    - `pass_external_ids`: the passes that the body names, so that an erasure finds the delivery. If the mapping does not
      find the passes of all items: also hashes of all names in the body and the headers, or `UNKNOWN_NAMES`;
    - `reruns`: how often workers have run the message again by themselves;
    - `rerun_at`: when a worker runs it again, in system time, or None if it waits for no other event.
    """

    id: str
    hook_id: str
    identity: str
    status: DeliveryStatus
    received_at: datetime
    attempts: int = 1
    events: int = 0
    headers_hash: str = ""
    problems: tuple[ItemProblem, ...] = ()
    items_path: str | None = None
    remaining_items: tuple[int, ...] | None = None
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    pass_external_ids: tuple[str, ...] = ()
    reruns: int = 0
    rerun_at: datetime | None = None


def rerun_delay_seconds(reruns: int) -> int:
    """Return the time until the next rerun, after so many reruns: 10 s, 30 s, 90 s and so on, up to a day."""
    return min(FIRST_RERUN_SECONDS * int(3 ** min(reruns, 20)), MAX_RERUN_SECONDS)


def waits_for_original(problems: Iterable[Problem]) -> bool:
    """Return whether the event that an item corrects is not recorded yet, so that a later attempt may succeed."""
    return any(problem.code is Code.UNKNOWN and problem.field[-1:] == (corrections.FIELD,) for problem in problems)


def select_headers(headers: Mapping[str, str], signature: str | None) -> dict[str, str]:
    """Return the headers that a FAILED delivery keeps: up to 40, without the signature and without secrets.

    Names are in lower case. Kept are `content-type` and headers that begin with `x-` or `webhook-`, for a mapping may
    read them. Headers whose name contains a word such as "token", "auth" or "cookie" are left out.
    """
    kept = [
        (name, value)
        for name, value in headers.items()
        if name.startswith(_KEPT)
        and name != signature
        and len(value) <= MAX_HEADER
        and not any(word in name for word in _NEVER_KEPT)
    ]
    return dict(kept[:MAX_HEADERS])
