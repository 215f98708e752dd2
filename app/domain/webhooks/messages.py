"""Messages: what a webhook endpoint is sent, by the Standard Webhooks specification.

The bytes are the same at every try of a message, and so is its id; its time and its signatures are the try's own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from app.domain.activities import Activity
from app.domain.files.exports import activity_line
from app.domain.signatures import standard_signatures
from app.domain.values.instants import format_instant

MAX_MESSAGE_BYTES = 20_000
"""Every body is smaller than that (source: the specification)."""
TEST = "webhook.test"


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its `webhook-id`, by which a receiver knows it again, and its exact body."""

    id: str
    body: bytes


def render_message(activity: Activity, pass_external_id: str | None) -> Message:
    """What an endpoint is told of an activity: the line of an export, and its time once more under the standard's name.

    `sequence` is its position in the log, `passSequence` its number in the pass, for who is told of things out of order.
    Where that is too large, the largest members of `data` are left out, first those of its event; `truncated` says so.
    """
    line = activity_line(activity, pass_external_id)
    line |= {"timestamp": line["created_at"], "sequence": activity.position, "passSequence": activity.pass_sequence}
    line["data"] = line.pop("data")
    body = _encoded(line)
    if len(body) >= MAX_MESSAGE_BYTES:
        body = _encoded({**line, "data": _shortened(line["data"], len(body))})
    return Message(activity.id, body)


def render_test_message(message_id: str, endpoint_id: str, at: datetime) -> Message:
    """A message that tells of nothing, by which an endpoint is tried out."""
    said = format_instant(at)
    line = {"id": message_id, "type": TEST, "timestamp": said, "created_at": said, "data": {"endpointId": endpoint_id}}
    return Message(message_id, _encoded(line))


def sign_headers(
    message: Message, secrets: Iterable[str], at_seconds: int, traceparent: str | None = None
) -> dict[str, str]:
    """The headers of one try at that time (seconds since 1970), signed by each of the secrets."""
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message.id,
        "webhook-timestamp": str(at_seconds),
        "webhook-signature": standard_signatures(secrets, message.id, at_seconds, message.body),
    }
    return headers if traceparent is None else {**headers, "traceparent": traceparent}


def _shortened(data: object, size: int) -> dict[str, object]:
    surplus = size + len(_encoded({"truncated": True})) - MAX_MESSAGE_BYTES
    if isinstance(data, Mapping) and isinstance(data.get("event"), Mapping):
        event, surplus = _without_largest(data["event"], surplus)
        if surplus < 0:
            return {**data, "event": event, "truncated": True}
    return {"truncated": True}


def _without_largest(members: Mapping[str, object], surplus: int) -> tuple[dict[str, object], int]:
    """What is left when the largest members go until so many bytes and one are gone, and how many are still too many."""
    sizes = {name: len(_encoded({name: value})) - 1 for name, value in members.items() if name != "id"}
    gone = set()
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if surplus < 0:
            break
        gone.add(name)
        surplus -= sizes[name]
    return {name: value for name, value in members.items() if name not in gone}, surplus


def _encoded(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
