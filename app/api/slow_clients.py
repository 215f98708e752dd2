"""uvicorn's protocols for HTTP and WebSocket, which disconnect clients that read nothing or send incomplete headers.

Data for a slow client is held in two buffers. The connection's buffer holds 64 KB and the message that filled it, the
kernel's half a megabyte. When both are full, the sending task waits. A waiting subscription loses no activity, because
it reads the log later. A client that reads nothing for 30 seconds is disconnected; it can continue from its last
cursor.

A client that does not complete its headers in 20 seconds is disconnected, too, because beginning a request needs no
key. The same holds for the rest of a body that the API has answered already.
"""

from __future__ import annotations

import asyncio
import socket

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

from app.telemetry import metrics

from .frame_limits import FrameLimits

STUCK_TIMEOUT_SECONDS = 30.0
"""How long a client may read nothing while data is waiting for it."""
CLOSE_TIMEOUT_SECONDS = 5.0
"""How long a WebSocket that is closed then waits for its client to read the rest and the close reason."""
SEND_BUFFER_BYTES = 262_144
"""Requested size of the kernel's send buffer. Linux doubles the value; by default it would hold up to 4 MB."""
MAX_HEADER_BYTES = 65_536
"""Most bytes of incomplete headers, with the request line. Larger headers pass only if one read contains their end."""
HEADER_TIMEOUT_SECONDS = 20.0
"""How long a client may take to send its headers, from its connection or their first byte."""
INTERNAL_ERROR = 1011
TRY_AGAIN_LATER = 1013
TOO_SLOW = "The client read nothing for too long. Reconnect with your last cursor"

# uvicorn's own settings keep 50 KB for each socket. Messages of a feed repeat themselves within 1 or 2 KB, so that the
# smaller window compresses almost as well.
DEFLATE = ServerPerMessageDeflateFactory(
    server_max_window_bits=11, client_max_window_bits=11, compress_settings={"memLevel": 4}
)


class _StallDetection(asyncio.Protocol):
    """Mixin that disconnects a client if its full buffer does not shrink for `STUCK_TIMEOUT_SECONDS`."""

    transport: asyncio.Transport
    _stall_timer: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """Start to watch the buffer. The event loop calls this method when the buffer is full."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """Stop watching the buffer. The event loop calls this method when the buffer is nearly empty."""
        self._unwatch()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching the buffer. The event loop calls this method."""
        self._unwatch()
        super().connection_lost(exc)

    def give_up(self) -> None:
        """Disconnect the client because it reads nothing."""
        raise NotImplementedError

    def _watch(self) -> None:
        buffered_bytes = self.transport.get_write_buffer_size()
        self._stall_timer = asyncio.get_running_loop().call_later(
            STUCK_TIMEOUT_SECONDS, self._check_progress, buffered_bytes
        )

    def _unwatch(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _check_progress(self, earlier_bytes: int) -> None:
        # On a slow line a large response fills the buffer for a long time, although the client reads.
        if self.transport.get_write_buffer_size() < earlier_bytes:
            self._watch()
        else:
            self.give_up()


class SlowClientHttpProtocol(_StallDetection, HttpToolsProtocol):
    """An HTTP connection that is aborted if its client reads nothing. An unread stream cannot end otherwise."""

    _header_bytes = 0
    """Bytes received since the last complete headers, part of a body or end of a message. Trailers count, too."""
    _header_timer: asyncio.TimerHandle | None = None
    _rest_timer: asyncio.TimerHandle | None = None
    """Timer of a client that still sends a body to which the response is complete."""
    _is_message_complete = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn declares it so
        """Set the size of the send buffer and start the timer for headers. The event loop calls this method."""
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._start_header_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer for headers. The event loop calls this method."""
        self._stop_header_timer()
        self._stop_rest_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data and reject headers that are too large. The event loop calls this method.

        The parser itself would collect headers of any length, for any time.
        """
        self._header_bytes += len(data)
        super().data_received(data)
        if self._header_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
            self._reject()
        elif not self._header_bytes:
            self._stop_header_timer()
        elif self._header_timer is None:
            self._start_header_timer()

    def on_headers_complete(self) -> None:
        """Reset the count of header bytes. The parser calls this method."""
        self._header_bytes = 0
        self._is_message_complete = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Reset the count of header bytes. The parser calls this method."""
        self._header_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Reset the count of header bytes. The parser calls this method."""
        self._header_bytes = 0
        self._is_message_complete = True
        self._stop_rest_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Limit the time for the rest of a body that the application does not read. uvicorn calls this method."""
        super().on_response_complete()
        if not self._is_message_complete and self.cycle.response_complete and not self.transport.is_closing():
            self._stop_rest_timer()
            self._rest_timer = asyncio.get_running_loop().call_later(HEADER_TIMEOUT_SECONDS, self.transport.abort)

    def give_up(self) -> None:
        """Abort the connection."""
        metrics.STUCK.labels("http").inc()
        self.transport.abort()

    def _start_header_timer(self) -> None:
        self._header_timer = asyncio.get_running_loop().call_later(HEADER_TIMEOUT_SECONDS, self.transport.abort)

    def _stop_rest_timer(self) -> None:
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _reject(self) -> None:
        # `cycle` is None before the first request.
        if self.cycle is None or self.cycle.response_complete:  # type: ignore[redundant-expr]
            self.send_400_response(f"The request line and headers are larger than {MAX_HEADER_BYTES} bytes.")
        else:
            self.transport.abort()


class SlowClientWebSocketProtocol(_StallDetection, FrameLimits):
    """A WebSocket that is closed with code 1013 if its client reads nothing.

    After such a close, or an unanswered ping, the connection ends within `CLOSE_TIMEOUT_SECONDS`.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the compression. The HTTP connection that is upgraded to this one calls this method."""
        super().connection_made(transport)
        self.conn.available_extensions = [DEFLATE]

    def keepalive_timeout(self) -> None:
        """Close the connection because the client did not answer a ping."""
        super().keepalive_timeout()
        self._disconnect(INTERNAL_ERROR)

    def give_up(self) -> None:
        """Send a close frame after the data that the client has not read, and end the connection."""
        metrics.STUCK.labels("ws").inc()
        self.stop_keepalive()
        if not self.close_sent and not self.transport.is_closing():
            self.conn.fail(TRY_AGAIN_LATER, TOO_SLOW)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            self.transport.close()
        self._disconnect(TRY_AGAIN_LATER)

    def _disconnect(self, code: int) -> None:
        """Report the disconnect to the application at once, and abort the connection a little later."""
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code})
        self.disconnected = True
        self.writable.set()
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(CLOSE_TIMEOUT_SECONDS, self.transport.abort)
