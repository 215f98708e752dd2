"""Subscriptions as `multipart/mixed`.

Source: Apollo's "Multipart HTTP protocol for GraphQL subscriptions", version 1.0.
"""

from __future__ import annotations

from typing import Any

from app.graphql.execution.requests import encode_json
from app.telemetry.operations import Transport

_HEAD = b"\r\ncontent-type: application/json\r\n\r\n"
_TAIL = b"\r\n--graphql"


class _Parts:
    """Framing of a stream: a part for each response, and an empty object as keepalive."""

    transport: Transport = "multipart"
    content_type = "multipart/mixed;boundary=graphql;subscriptionSpec=1.0"
    opening = _TAIL
    keepalive = _HEAD + b"{}" + _TAIL
    ending = b"--\r\n"

    def frame(self, body: dict[str, Any], cursor: str | None) -> bytes:
        """Return one part with its closing delimiter, because clients read a part only when they see its end."""
        return _HEAD + encode_json({"payload": body}) + _TAIL


PARTS = _Parts()
