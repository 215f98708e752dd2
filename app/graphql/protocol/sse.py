"""Server-sent events with one stream for each operation.

Source: PROTOCOL.md of graphql-sse, "Distinct connections mode".
"""

from __future__ import annotations

from typing import Any

from app.graphql.execution.requests import encode_json
from app.telemetry.operations import Transport


class _Events:
    """Framing of a stream: an event `next` for each response, with the cursor as its id, then one event `complete`."""

    transport: Transport = "sse"
    content_type = "text/event-stream"
    opening = keepalive = b":\n\n"
    ending = b"event: complete\ndata:\n\n"

    def frame(self, body: dict[str, Any], cursor: str | None) -> bytes:
        """Return one event `next`. A browser that reconnects sends the last id back in the header Last-Event-ID."""
        event_id = b"" if cursor is None else f"id: {cursor}\n".encode()
        return b"event: next\n" + event_id + b"data: " + encode_json(body) + b"\n\n"


EVENTS = _Events()
