"""Subscriptions as multipart/mixed. Source: Apollo's "Multipart HTTP protocol for GraphQL subscriptions", version 1.0."""

from __future__ import annotations

from typing import Any

from app.graphql.execution.requests import encode_json
from app.telemetry.operations import Transport

_HEAD = b"\r\ncontent-type: application/json\r\n\r\n"
_TAIL = b"\r\n--graphql"


class _Parts:
    """A part for each response, and an empty object now and then."""

    transport: Transport = "multipart"
    content_type = "multipart/mixed;boundary=graphql;subscriptionSpec=1.0"
    opening = _TAIL
    quiet = _HEAD + b"{}" + _TAIL
    ending = b"--\r\n"

    def framed(self, body: dict[str, Any], place: str | None) -> bytes:
        """One part; it is closed at once, because clients read a part when they see its end."""
        return _HEAD + encode_json({"payload": body}) + _TAIL


PARTS = _Parts()
