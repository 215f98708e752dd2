"""Exports: events and activities as lines of a file, and the signature by which the file is fetched.

An event's line has the names of recordEvents' input, so that the file can be imported again: `importEvents` with the format
JSONL makes the same events of it, in this workspace none twice, in another with the same aggregates. An activity's line is
what webhooks send, and a cursor: who has read to its end goes on from there by any door.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256

from app.domain.activities import Activity
from app.domain.events.events import Event
from app.domain.values.cursors import activity_cursor
from app.domain.values.decimals import plain
from app.domain.values.instants import format_instant, from_ms

from .columns import ATTRIBUTES, FIELDS

URL_TTL_SECONDS = 3_600
"""How long the address of a file works. Who reads the job again is given another."""
FILE_TTL_SECONDS = 86_400
"""How long a file is kept once it is finished: it holds personal data, and can be made again."""


class ExportFormat(StrEnum):
    """How a file of events or activities is written."""

    CSV = "CSV"
    JSONL = "JSONL"


_TEXTS = tuple(
    (field, ATTRIBUTES[field]) for field in ("currency", "label", "source", "fieldName", "oldValue", "newValue")
)

EVENT_COLUMNS = (
    "id", *FIELDS, "correctionOf", "correctionOfSource", "correctionOfExternalId", "recordedAt", "metadata",
)  # fmt: skip
ACTIVITY_COLUMNS = ("id", "type", "created_at", "passId", "passExternalId", "cursor", "data")


def event_line(event: Event, pass_external_id: str, corrected: Event | None) -> dict[str, object]:
    """An event as an object of plain JSON values; what it does not have is left out.

    Every event has an external id there: one without goes by its own id. `corrected` is what it corrects, None where that
    was removed or nothing is corrected.
    """
    line: dict[str, object] = {
        "id": event.id,
        "passExternalId": pass_external_id,
        "type": event.type,
        "category": event.category.value,
        "occurredAt": format_instant(event.occurred_at),
        "externalId": event.external_id or event.id,
    }
    if event.amount is not None:
        line["amount"] = plain(event.amount)
    for name, attribute in _TEXTS:
        value = getattr(event, attribute)
        if value is not None:
            line[name] = value
    if event.points:
        line["points"] = plain(event.points)
    if corrected is not None:
        line["correctionOf"] = corrected.id
        line["correctionOfSource"] = corrected.source
        line["correctionOfExternalId"] = corrected.external_id or corrected.id
    if event.points_expiry is not None and (event.points or corrected is not None):
        if event.points_expiry.at_ms is not None:
            line["pointsExpireAt"] = format_instant(from_ms(event.points_expiry.at_ms))
        else:
            line["pointsExpireAfterDays"] = event.points_expiry.after_days
    if event.origin.staff is not None:
        line["staff"] = event.origin.staff
    if event.metadata:
        line["metadata"] = event.metadata
    line["recordedAt"] = format_instant(event.recorded_at)
    return line


def activity_line(activity: Activity, pass_external_id: str | None) -> dict[str, object]:
    """An activity as it is told on the wire, `created_at` being the instant it happened, with its pass and its cursor."""
    return {
        "id": activity.id,
        "type": activity.type,
        "created_at": format_instant(activity.occurred_at),
        "passId": activity.pass_id,
        "passExternalId": pass_external_id,
        "cursor": activity_cursor(activity.position),
        "data": _plain(activity.data),
    }


def signature(secret: bytes, job_id: str, expires: int) -> str:
    """What proves that a workspace handed out the address of a job's file, good until `expires` (seconds since 1970)."""
    return hmac.digest(secret, f"export\0{job_id}\0{expires}".encode(), sha256).hex()


def parse_expiry(text: str) -> int:
    """The seconds since 1970 that an address names; 0, which is long ago, for a text that is no such number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else 0


def is_signed(secret: bytes, job_id: str, expires: int, given: str) -> bool:
    """Whether this is the signature of that address; takes as long for any."""
    return hmac.compare_digest(signature(secret, job_id, expires).encode(), given.encode("utf-8", "replace"))


def _plain(value: object) -> object:
    """The value as JSON has it, decimals as plain digits."""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
