"""Connections as uvicorn serves them, given up on when their client reads nothing: silence is not kept in memory.

What is sent to a client lies in its connection's buffer, 64 KB and the message that filled it, and in the kernel's, half
a megabyte; then whoever sends waits.
A follower that waits misses nothing: it reads the log later. A client that takes nothing at all for half a minute is
parted from, and goes on from its cursor when it comes back.

Nor is a client waited for that has not said what it wants: nobody needs a key to begin a request.
"""

from __future__ import annotations

import asyncio
import socket

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

from app.telemetry import metrics

STUCK_TIMEOUT_SECONDS = 30.0
"""How long a client may take nothing of what waits for it."""
CLOSE_TIMEOUT_SECONDS = 5.0
"""How long a socket then still waits for its client to read what was sent, and why it ends."""
SEND_BUFFER_BYTES = 262_144
"""What the kernel is asked to hold of what is not yet sent (Linux takes twice as much): by itself it would hold 4 MB."""
MAX_HEADER_BYTES = 65_536
"""How much of a request's address and headers is waited for: more only where it comes in one read, with their end."""
HEADER_TIMEOUT_SECONDS = 20.0
"""How long a client may take to send them, from when it connects or sends the first of them."""
INTERNAL_ERROR = 1011
TRY_AGAIN_LATER = 1013
TOO_SLOW = "Nothing was read for too long: go on from your last cursor"

# uvicorn's own keeps 50 KB a socket. Messages of a feed repeat one another within a kilobyte or two: this loses little.
DEFLATE = ServerPerMessageDeflateFactory(
    server_max_window_bits=11, client_max_window_bits=11, compress_settings={"memLevel": 4}
)


class _Watched(asyncio.Protocol):
    """Looks at a full buffer now and then, and gives up when nothing of it was taken in the meantime."""

    transport: asyncio.Transport
    _look_again: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """Called by the loop when the buffer is full."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """Called by the loop when the buffer is nearly empty."""
        self._unwatch()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._unwatch()
        super().connection_lost(exc)

    def give_up(self) -> None:
        """Parts from a client that is stuck."""
        raise NotImplementedError

    def _watch(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._look_again = asyncio.get_running_loop().call_later(STUCK_TIMEOUT_SECONDS, self._look, waiting)

    def _unwatch(self) -> None:
        if self._look_again is not None:
            self._look_again.cancel()
            self._look_again = None

    def _look(self, waited: int) -> None:
        # A large answer on a thin line fills the buffer for long, and yet goes out.
        if self.transport.get_write_buffer_size() < waited:
            self._watch()
        else:
            self.give_up()


class SlowClientHttpProtocol(_Watched, HttpToolsProtocol):
    """A connection for HTTP, cut when its client is stuck: there is no other way to end a stream that nobody reads."""

    _unfinished = 0
    """Bytes since a heading came to its end, or anything of a body: trailers are held to the same."""
    _too_late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Called by the loop."""
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Called by the loop. The parser behind keeps headers of any length, for as long as they come."""
        self._unfinished += len(data)
        super().data_received(data)
        if self._unfinished > MAX_HEADER_BYTES and not self.transport.is_closing():
            self._refuse()
        elif not self._unfinished:
            self._expect_nothing()
        elif self._too_late is None:
            self._expect()

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._unfinished = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._unfinished = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._unfinished = 0
        super().on_message_complete()

    def give_up(self) -> None:
        """Cuts it."""
        metrics.STUCK.labels("http").inc()
        self.transport.abort()

    def _expect(self) -> None:
        self._too_late = asyncio.get_running_loop().call_later(HEADER_TIMEOUT_SECONDS, self.transport.abort)

    def _expect_nothing(self) -> None:
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None

    def _refuse(self) -> None:
        if self.cycle is None or self.cycle.response_complete:  # type: ignore[redundant-expr]  # none before the first
            self.send_400_response(f"Address and headers are larger than {MAX_HEADER_BYTES} bytes.")
        else:
            self.transport.abort()


class SlowClientWebSocketProtocol(_Watched, WebSocketsSansIOProtocol):
    """A WebSocket, closed with 1013 when its client is stuck. Whatever the server closes it for, it does get closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the HTTP connection that becomes this one."""
        super().connection_made(transport)
        self.conn.available_extensions = [DEFLATE]

    def keepalive_timeout(self) -> None:
        """Called when a ping was not answered."""
        super().keepalive_timeout()
        self._part(INTERNAL_ERROR)

    def give_up(self) -> None:
        """Closes it, behind what the client has not read."""
        metrics.STUCK.labels("ws").inc()
        self.stop_keepalive()
        if not self.close_sent and not self.transport.is_closing():
            self.conn.fail(TRY_AGAIN_LATER, TOO_SLOW)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            self.transport.close()
        self._part(TRY_AGAIN_LATER)

    def _part(self, code: int) -> None:
        """Lets the application go at once, and the client when it had its last chance to read."""
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code})
        self.disconnected = True
        self.writable.set()
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(CLOSE_TIMEOUT_SECONDS, self.transport.abort)
