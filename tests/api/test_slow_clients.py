"""Clients that stop reading or send endless headers: the API keeps little in memory for them and disconnects them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

from app.api import slow_clients
from app.api.slow_clients import TOO_SLOW, SlowClientHttpProtocol, SlowClientWebSocketProtocol
from app.telemetry import metrics
from tests.graphql.serving import run_server
from tests.patience import PATIENCE_SECONDS

MESSAGE = "x" * 65_536


class Sender:
    """An application that sends messages over HTTP or WebSocket up to `max_bytes`, or until its client disconnects."""

    def __init__(self, max_bytes: int = 1 << 30) -> None:
        self.max_bytes = max_bytes
        self.sent_bytes = 0
        self.ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with contextlib.suppress(OSError):
                await self._send(scope, receive, send)
        finally:
            self.ended.set()

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            while self.sent_bytes < self.max_bytes:
                await send({"type": "websocket.send", "text": MESSAGE})
                self.sent_bytes += len(MESSAGE)
            return
        disconnected = asyncio.ensure_future(receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while self.sent_bytes < self.max_bytes and not disconnected.done():
            await send({"type": "http.response.body", "body": MESSAGE.encode(), "more_body": True})
            self.sent_bytes += len(MESSAGE)
        await send({"type": "http.response.body", "body": b""})
        disconnected.cancel()


@asynccontextmanager
async def run_sender(sender: Sender) -> AsyncIterator[tuple[int, set[object]]]:
    """Run the application on a free port, and yield the port and the set of open connections."""
    config = uvicorn.Config(
        sender, port=0, log_config=None, lifespan="off", http=SlowClientHttpProtocol, ws=SlowClientWebSocketProtocol
    )
    async with run_server(config) as server, asyncio.timeout(PATIENCE_SECONDS):
        yield server.servers[0].sockets[0].getsockname()[1], cast(set[object], server.server_state.connections)


def connect_client(port: int, buffer_bytes: int = 4_096) -> socket.socket:
    """Return a connection that buffers few bytes, so that it takes little while the test does not read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    client.connect(("127.0.0.1", port))
    client.setblocking(False)
    return client


async def read_all(client: socket.socket) -> int:
    """Read until the connection is closed or reset, and return the number of bytes."""
    count = 0
    with contextlib.suppress(ConnectionResetError):
        while data := await asyncio.get_running_loop().sock_recv(client, 1 << 16):
            count += len(data)
    return count


def count_stuck(kind: str) -> float:
    return metrics.REGISTRY.get_sample_value("punchcard_stuck_connections_total", {"kind": kind}) or 0.0


async def test_http_stream_of_a_client_that_stops_reading_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "STUCK_TIMEOUT_SECONDS", 0.1)
    sender, before = Sender(), count_stuck("http")
    async with run_sender(sender) as (port, _):
        with connect_client(port) as client:
            await asyncio.get_running_loop().sock_sendall(client, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            await sender.ended.wait()
            left = await read_all(client)
    # The kernel's buffers do not count. The process itself kept at most its 64 KB and two messages.
    assert sender.sent_bytes - left <= len(MESSAGE) + 65_536 + len(MESSAGE)
    assert count_stuck("http") == before + 1


async def test_socket_of_a_client_that_stops_reading_is_closed_with_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slow_clients, "STUCK_TIMEOUT_SECONDS", 0.1)
    sender, before = Sender(), count_stuck("ws")
    async with run_sender(sender) as (port, _):
        connection = connect_client(port)
        async with connect(f"ws://127.0.0.1:{port}", sock=connection, max_queue=1, compression=None) as client:
            # The client's queue is full after one message. Then it stops reading, like a program that is busy.
            await sender.ended.wait()
            received = 0
            try:
                while True:
                    received += len(await client.recv())
            except ConnectionClosedError as error:
                close = error.rcvd
    assert close is not None
    assert (close.code, close.reason) == (1013, TOO_SLOW)
    assert received == sender.sent_bytes
    assert count_stuck("ws") == before + 1


async def test_socket_of_a_client_that_never_reads_again_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "STUCK_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(slow_clients, "CLOSE_TIMEOUT_SECONDS", 0.05)
    sender = Sender()
    async with run_sender(sender) as (port, open_connections):
        with connect_client(port) as client:
            handshake = (
                "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
                "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            await asyncio.get_running_loop().sock_sendall(client, handshake.encode())
            await sender.ended.wait()
            while open_connections:
                await asyncio.sleep(0.005)
            await read_all(client)


async def test_slow_reader_receives_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    # Far longer than a pause of the client, which stops with this whole process on a busy machine.
    monkeypatch.setattr(slow_clients, "STUCK_TIMEOUT_SECONDS", 2.0)
    sender, before = Sender(max_bytes=100 * len(MESSAGE)), count_stuck("http")
    async with run_sender(sender) as (port, _):
        with connect_client(port, 262_144) as client:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            count = 0
            while data := await loop.sock_recv(client, 1 << 18):
                count += len(data)
                await asyncio.sleep(0.005)
    assert count > sender.max_bytes
    assert count_stuck("http") == before


REQUEST_HEAD = b"GET / HTTP/1.1\r\nhost: x\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"


@pytest.mark.parametrize(
    ("start", "repeated"),
    [
        pytest.param(REQUEST_HEAD, b"x: y\r\n", id="headers"),
        pytest.param(REQUEST_HEAD + b"x: ", b"y" * 64, id="one header"),
        pytest.param(b"GET /", b"y" * 64, id="the address"),
        pytest.param(CHUNKED, b"x: y\r\n", id="trailers"),
    ],
)
async def test_client_that_sends_endless_headers_is_disconnected(start: bytes, repeated: bytes) -> None:
    """A client needs no API key to send headers, so they must not fill the memory of the process."""
    loop, sender = asyncio.get_running_loop(), Sender(max_bytes=0)
    async with run_sender(sender) as (port, open_connections):
        with connect_client(port, 65_536) as client:
            await loop.sock_sendall(client, start)
            sent_bytes = 0
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                while sent_bytes < 1 << 24:
                    await loop.sock_sendall(client, repeated * 256)
                    sent_bytes += len(repeated) * 256
            # The kernel's buffers hold most of the bytes that were sent.
            assert sent_bytes < 1 << 24
            assert not open_connections


async def test_client_that_does_not_complete_its_request_head_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "HEADER_TIMEOUT_SECONDS", 0.05)
    loop, sender = asyncio.get_running_loop(), Sender(max_bytes=0)
    async with run_sender(sender) as (port, _):
        for request, answers in (
            (b"", 0),
            (b"GET / HT", 0),
            (REQUEST_HEAD + b"\r\n", 1),
            (REQUEST_HEAD + b"\r\n" + REQUEST_HEAD, 1),
        ):
            with connect_client(port) as client:
                await loop.sock_sendall(client, request)
                if answers:
                    assert (await loop.sock_recv(client, 1 << 16)).startswith(b"HTTP/1.1 200")
                    # After an answered request, the client starts another one and does not complete its head.
                    await loop.sock_sendall(client, b"GE" if request.endswith(b"\r\n\r\n") else b"x")
                await read_all(client)
