"""Messages: ids, bodies and signed headers for webhook endpoints, by the Standard Webhooks specification.

The id and the body of a message are the same at every attempt. The timestamp and the signatures belong to one attempt.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from app.domain.activities import Activity
from app.domain.files.exports import render_activity_line
from app.domain.signatures import standard_signatures
from app.domain.values.instants import format_instant

MAX_MESSAGE_BYTES = 20_000
"""The size that every body stays below. (Source: the specification.)"""
TEST = "webhook.test"
"""The type of messages that `testWebhookEndpoint` sends."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its `webhook-id`, by which a receiver recognizes repeats, and the exact bytes of its body."""

    id: str
    body: bytes


def render_message(activity: Activity, pass_external_id: str | None) -> Message:
    """Return the message of an activity. Equal arguments always give equal bytes.

    The body has the members of an export line, and `timestamp`, the specification's name for `created_at`. `sequence`
    is the position in the log and `passSequence` the number in the pass: a receiver uses them to detect messages out of
    order. From a body of 20,000 bytes or more, the largest members of the event in `data` are left out until the body
    fits. If it still does not fit, all of `data` is left out. `data.truncated` is true in both cases.
    """
    line = render_activity_line(activity, pass_external_id)
    line |= {"timestamp": line["created_at"], "sequence": activity.position, "passSequence": activity.pass_sequence}
    line["data"] = line.pop("data")
    body = _encode(line)
    if len(body) >= MAX_MESSAGE_BYTES:
        body = _encode({**line, "data": _shorten(line["data"], len(body))})
    return Message(activity.id, body)


def render_test_message(message_id: str, endpoint_id: str, at: datetime) -> Message:
    """Return a message without an activity, to test whether an endpoint accepts messages."""
    time = format_instant(at)
    line = {"id": message_id, "type": TEST, "timestamp": time, "created_at": time, "data": {"endpointId": endpoint_id}}
    return Message(message_id, _encode(line))


def sign_headers(
    message: Message, secrets: Iterable[str], at_seconds: int, traceparent: str | None = None
) -> dict[str, str]:
    """Return the headers of one attempt, signed with each of the secrets. `at_seconds` counts from 1970."""
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message.id,
        "webhook-timestamp": str(at_seconds),
        "webhook-signature": standard_signatures(secrets, message.id, at_seconds, message.body),
    }
    return headers if traceparent is None else {**headers, "traceparent": traceparent}


def _shorten(data: object, size: int) -> dict[str, object]:
    """Return `data` without its largest members, so that the body, now of `size` bytes, becomes small enough."""
    surplus = size + len(_encode({"truncated": True})) - MAX_MESSAGE_BYTES
    if isinstance(data, Mapping) and isinstance(data.get("event"), Mapping):
        event, surplus = _without_largest(data["event"], surplus)
        if surplus < 0:
            return {**data, "event": event, "truncated": True}
    return {"truncated": True}


def _without_largest(members: Mapping[str, object], surplus: int) -> tuple[dict[str, object], int]:
    """Leave out the largest members, except `id`, until more than `surplus` bytes are saved.

    Returns the other members and the surplus that remains: negative if the body is small enough now.
    """
    sizes = {name: len(_encode({name: value})) - 1 for name, value in members.items() if name != "id"}
    removed = set()
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if surplus < 0:
            break
        removed.add(name)
        surplus -= sizes[name]
    return {name: value for name, value in members.items() if name not in removed}, surplus


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
