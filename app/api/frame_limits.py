"""Limits on the frames that a WebSocket client sends, before and after the API accepted its key.

Until then, a client may send little: 4 KB a message, after inflating it, and 16 KB in all. Otherwise, a client without
a key could keep the process busy: 4 KB on the wire inflate to 4 MB.

A client that sends frames too fast is not refused. The API reads more slowly, and the client's own buffer fills up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from app.graphql.protocol.ws_connection import ACKNOWLEDGE
from app.graphql.protocol.ws_rules import MAX_EARLY_MESSAGE_BYTES

if TYPE_CHECKING:
    from websockets.frames import Frame
    from websockets.http11 import Request

MAX_EARLY_BYTES = 16_384
"""Bytes on the wire until the API acknowledged the socket, headers of frames included."""
FRAMES_PER_SECOND = 200
FRAMES_AT_ONCE = 1_000
"""Frames that a client may send faster than `FRAMES_PER_SECOND`. Pings and fragments of messages count, too."""
MAX_FRAGMENTS = 1_000
"""Frames of one message. A message of empty frames has no size, so its size does not limit it."""
TOO_BIG = 1009
_SLICE_BYTES = 4_096
"""Bytes that are parsed before the number of frames is checked again: up to 680 frames, which take 10 ms."""


class FrameLimits(WebSocketsSansIOProtocol):
    """Mixin for uvicorn's WebSocket protocol with the limits of this module."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._is_acknowledged = False
        self._early_bytes = 0
        self._unread = bytearray()
        self._frames_left = float(FRAMES_AT_ONCE)
        self._counted_at = self.loop.time()
        self._rate_timer: asyncio.TimerHandle | None = None
        self.conn.max_message_size = min(MAX_EARLY_MESSAGE_BYTES, self.config.ws_max_size)

    def acknowledge(self) -> None:
        """Lift the limits that hold until the API accepted the client's key. The application calls this method."""
        self._is_acknowledged = True
        self.conn.max_message_size = self.config.ws_max_size

    def handle_connect(self, event: Request) -> None:
        """Offer `acknowledge` to the application. uvicorn calls this method for the handshake."""
        super().handle_connect(event)
        if not self.close_sent:
            extensions: dict[str, dict[str, Callable[[], None]]] = self.scope["extensions"]  # type: ignore[assignment]
            extensions[ACKNOWLEDGE] = {"call": self.acknowledge}

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the bytes that are not parsed yet. The event loop calls this method."""
        self._unread.clear()
        if self._rate_timer is not None:
            self._rate_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data within the limits. The event loop calls this method."""
        if not self.handshake_initiated:
            super().data_received(data)
            return
        if not self._is_acknowledged:
            self._early_bytes += len(data)
            if self._early_bytes > MAX_EARLY_BYTES:
                self._fail("Too much data before connection_ack")
                return
        self._unread += data
        self._parse()
        if self._rate_timer is not None:
            # uvicorn resumes reading whenever the application takes a message.
            self.transport.pause_reading()

    async def receive(self) -> Any:
        """Return the next message, and parse the bytes behind it. The application calls this method."""
        message = await super().receive()
        self._parse()
        return message

    async def send(self, message: Any) -> None:
        """Send a message. After a close, parse the bytes in which the client's own close may lie."""
        await super().send(message)
        if self.close_sent:
            self._parse()

    def handle_events(self) -> None:
        """Count the frames. uvicorn calls this method after each parse."""
        self._frames_left -= len(self.conn.events)
        super().handle_events()

    def handle_cont(self, event: Frame) -> None:
        """Close the socket if the message has too many frames. uvicorn calls this method for each further frame."""
        if len(self.frames) >= MAX_FRAGMENTS:
            self._fail("Too many fragments")
        else:
            super().handle_cont(event)

    def _parse(self) -> None:
        while self._unread and not self.read_paused and self._may_parse():
            piece = bytes(self._unread[:_SLICE_BYTES])
            del self._unread[:_SLICE_BYTES]
            super().data_received(piece)
            if self.transport.is_closing():
                self._unread.clear()

    def _may_parse(self) -> bool:
        """Return whether the rate of frames allows to parse more. If not, parse more later."""
        now = self.loop.time()
        earned = (now - self._counted_at) * FRAMES_PER_SECOND
        self._frames_left, self._counted_at = min(FRAMES_AT_ONCE, self._frames_left + earned), now
        if self._frames_left >= 0:
            return True
        if self._rate_timer is None:
            self.transport.pause_reading()
            self._rate_timer = self.loop.call_later(-self._frames_left / FRAMES_PER_SECOND, self._continue)
        return False

    def _continue(self) -> None:
        self._rate_timer = None
        if self.transport.is_closing():
            return
        if not self.read_paused:
            self.transport.resume_reading()
        self._parse()

    def _fail(self, reason: str) -> None:
        self._unread.clear()
        if not self.close_sent:
            self.conn.fail(TOO_BIG, reason)
            self.handle_parser_exception()
