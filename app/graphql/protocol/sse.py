"""Server-sent events, one stream an operation. Source: graphql-sse, PROTOCOL.md, "Distinct connections mode"."""

from __future__ import annotations

from typing import Any

from app.graphql.execution.requests import encode_json
from app.telemetry.operations import Transport


class _Events:
    """A `next` event for each response, with the place in the stream as its id, and one `complete`."""

    transport: Transport = "sse"
    content_type = "text/event-stream"
    opening = quiet = b":\n\n"
    ending = b"event: complete\ndata:\n\n"

    def framed(self, body: dict[str, Any], place: str | None) -> bytes:
        """One `next` event; browsers send the last id back, as Last-Event-ID, when they reconnect."""
        known = b"" if place is None else f"id: {place}\n".encode()
        return b"event: next\n" + known + b"data: " + encode_json(body) + b"\n\n"


EVENTS = _Events()
