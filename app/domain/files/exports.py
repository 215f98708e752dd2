"""Export files: rendering of events and activities as lines, and the signature of download URLs.

The line of an event has the field names of `RecordEventInput`, so `importEvents` with the format JSONL can import the
file. An import into the same workspace records no event twice. An import into another one gives the same aggregates.
A webhook message has all members of an activity's line. The cursor in the line is valid in all channels, so a reader
can continue from it.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256

from app.domain.activities import Activity
from app.domain.events.events import RULE_CHANNEL, Event
from app.domain.values.decimals import plain
from app.domain.values.instants import format_instant, from_ms

from .columns import ATTRIBUTES, FIELDS

URL_TTL_SECONDS = 3_600
"""How long a download URL is valid. The API signs a new one each time a client reads the job."""
FILE_TTL_SECONDS = 86_400
"""How long a finished file is kept. It holds personal data, and the export can be repeated."""


class ExportFormat(StrEnum):
    """The format of an export file."""

    CSV = "CSV"
    JSONL = "JSONL"


_TEXTS = tuple(
    (field, ATTRIBUTES[field]) for field in ("currency", "label", "source", "fieldName", "oldValue", "newValue")
)

EVENT_COLUMNS = (
    "id", *FIELDS, "correctionOf", "correctionOfSource", "correctionOfExternalId", "recordedAt", "metadata",
    "channel", "performedAt", "outcome",
)  # fmt: skip
ACTIVITY_COLUMNS = ("id", "type", "created_at", "passId", "passExternalId", "cursor", "data")


def render_event_line(event: Event, pass_external_id: str, corrected: Event | None) -> dict[str, object]:
    """Return an event as an object of JSON values, without the fields that the event does not have.

    The `outcome` of a declined event says so; imports leave its line out. Every line has an `externalId`: if the event has
    none, its id. `corrected` is the event that this one corrects, or
    None if it corrects none or the corrected event was removed.
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
    if event.points_expiry is not None and (event.points > 0 or corrected is not None):
        if event.points_expiry.at_ms is not None:
            line["pointsExpireAt"] = format_instant(from_ms(event.points_expiry.at_ms))
        else:
            line["pointsExpireAfterDays"] = event.points_expiry.after_days
    if event.origin.staff is not None:
        line["staff"] = event.origin.staff
    if event.is_made:
        # An import leaves the line out: the rules of the other workspace make their own events.
        line["channel"] = RULE_CHANNEL
    if event.metadata:
        line["metadata"] = event.metadata
    line["recordedAt"] = format_instant(event.recorded_at)
    if event.performed_at is not None:
        line["performedAt"] = format_instant(event.performed_at)
    if event.outcome.is_declined:
        line["outcome"] = event.outcome.status.value
    return line


def render_activity_line(activity: Activity, pass_external_id: str | None) -> dict[str, object]:
    """Return an activity as export files and webhook messages show it.

    `created_at` is the instant at which the activity happened, not the time of recording.
    """
    return {
        "id": activity.id,
        "type": activity.type,
        "created_at": format_instant(activity.occurred_at),
        "passId": activity.pass_id,
        "passExternalId": pass_external_id,
        "cursor": activity.cursor,
        "data": _to_json(activity.data),
    }


def sign_download(secret: bytes, job_id: str, expires: int) -> str:
    """Return the signature of the download URL of a job's file. It proves that the workspace made the URL.

    `expires` is the end of the URL's validity, in seconds since 1970; the signature covers it. `secret` is the
    workspace's.
    """
    return hmac.digest(secret, f"export\0{job_id}\0{expires}".encode(), sha256).hex()


def parse_expiry(text: str) -> int:
    """Return the expiry of a download URL in seconds since 1970, or 0, long expired, for a text that is no number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else 0


def is_signed(secret: bytes, job_id: str, expires: int, given: str) -> bool:
    """Return whether `given` is the signature of the URL. The comparison takes the same time for all texts."""
    return hmac.compare_digest(sign_download(secret, job_id, expires).encode(), given.encode("utf-8", "replace"))


def _to_json(value: object) -> object:
    """Return the value with decimals as plain digits in a text, and tuples as lists."""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, Mapping):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in value]
    return value
