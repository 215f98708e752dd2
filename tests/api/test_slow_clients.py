"""Clients that stop reading: what waits for them stays small, and they are parted from (checklist 2.9)."""

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

from app.api import slow_clients as connections
from app.api.slow_clients import TOO_SLOW, SlowClientHttpProtocol, SlowClientWebSocketProtocol
from app.telemetry import metrics
from tests.graphql.serving import running

MESSAGE = "x" * 65_536


class Talker:
    """An application that sends as much as is taken, over either protocol, until its client is gone."""

    def __init__(self, most: int = 1 << 30) -> None:
        self.most = most
        self.sent = 0
        self.ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with contextlib.suppress(OSError):
                await self._talk(scope, receive, send)
        finally:
            self.ended.set()

    async def _talk(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            while self.sent < self.most:
                await send({"type": "websocket.send", "text": MESSAGE})
                self.sent += len(MESSAGE)
            return
        gone = asyncio.ensure_future(receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while self.sent < self.most and not gone.done():
            await send({"type": "http.response.body", "body": MESSAGE.encode(), "more_body": True})
            self.sent += len(MESSAGE)
        await send({"type": "http.response.body", "body": b""})
        gone.cancel()


@asynccontextmanager
async def serving(talker: Talker) -> AsyncIterator[tuple[int, set[object]]]:
    """The port, and the connections that are open."""
    config = uvicorn.Config(
        talker, port=0, log_config=None, lifespan="off", http=SlowClientHttpProtocol, ws=SlowClientWebSocketProtocol
    )
    async with running(config) as server, asyncio.timeout(10):
        yield server.servers[0].sockets[0].getsockname()[1], cast(set[object], server.server_state.connections)


def connected(port: int, buffered: int = 4_096) -> socket.socket:
    """A connection that takes little unless it is read from."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffered)
    client.connect(("127.0.0.1", port))
    client.setblocking(False)
    return client


async def read_all(client: socket.socket) -> int:
    """The bytes that still come before the connection ends, one way or the other."""
    count = 0
    with contextlib.suppress(ConnectionResetError):
        while data := await asyncio.get_running_loop().sock_recv(client, 1 << 16):
            count += len(data)
    return count


def ended(kind: str) -> float:
    return metrics.REGISTRY.get_sample_value("punchcard_stuck_connections_total", {"kind": kind}) or 0.0


async def test_a_stream_that_nobody_reads_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STUCK_TIMEOUT_SECONDS", 0.1)
    talker, before = Talker(), ended("http")
    async with serving(talker) as (port, _):
        with connected(port) as client:
            await asyncio.get_running_loop().sock_sendall(client, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            await talker.ended.wait()
            left = await read_all(client)
    # What the kernel holds is its own affair; the process kept no more than a message above its 64 KB.
    assert talker.sent - left <= len(MESSAGE) + 65_536 + len(MESSAGE)
    assert ended("http") == before + 1


async def test_a_socket_that_nobody_reads_is_closed_with_a_reason_behind_what_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "STUCK_TIMEOUT_SECONDS", 0.1)
    talker, before = Talker(), ended("ws")
    async with serving(talker) as (port, _):
        reading = connected(port)
        async with connect(f"ws://127.0.0.1:{port}", sock=reading, max_queue=1, compression=None) as client:
            # Its queue is full after a message: then it stops reading, as a program does that is busy elsewhere.
            await talker.ended.wait()
            received = 0
            try:
                while True:
                    received += len(await client.recv())
            except ConnectionClosedError as closed:
                reason = closed.rcvd
    assert reason is not None
    assert (reason.code, reason.reason) == (1013, TOO_SLOW)
    assert received == talker.sent
    assert ended("ws") == before + 1


async def test_a_socket_that_never_reads_again_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STUCK_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(connections, "CLOSE_TIMEOUT_SECONDS", 0.05)
    talker = Talker()
    async with serving(talker) as (port, open_ones):
        with connected(port) as client:
            handshake = (
                "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
                "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            await asyncio.get_running_loop().sock_sendall(client, handshake.encode())
            await talker.ended.wait()
            while open_ones:
                await asyncio.sleep(0.005)
            await read_all(client)  # comes to an end


async def test_a_slow_reader_gets_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STUCK_TIMEOUT_SECONDS", 0.2)
    talker, before = Talker(most=100 * len(MESSAGE)), ended("http")
    async with serving(talker) as (port, _):
        with connected(port, 262_144) as client:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            count = 0
            while data := await loop.sock_recv(client, 1 << 18):
                count += len(data)
                await asyncio.sleep(0.005)
    assert count > talker.most
    assert ended("http") == before


HEADING = b"GET / HTTP/1.1\r\nhost: x\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"


@pytest.mark.parametrize(
    ("begun", "endless"),
    [
        pytest.param(HEADING, b"x: y\r\n", id="headers"),
        pytest.param(HEADING + b"x: ", b"y" * 64, id="one header"),
        pytest.param(b"GET /", b"y" * 64, id="the address"),
        pytest.param(CHUNKED, b"x: y\r\n", id="trailers"),
    ],
)
async def test_a_heading_without_end_is_not_kept(begun: bytes, endless: bytes) -> None:
    """Checklist 2.9: nobody needs a key to send one."""
    loop, talker = asyncio.get_running_loop(), Talker(most=0)
    async with serving(talker) as (port, open_ones):
        with connected(port, 65_536) as client:
            await loop.sock_sendall(client, begun)
            sent = 0
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                while sent < 1 << 24:
                    await loop.sock_sendall(client, endless * 256)
                    sent += len(endless) * 256
            assert sent < 1 << 24  # most of it lay in the kernel
            assert not open_ones


async def test_who_does_not_say_what_it_wants_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEADER_TIMEOUT_SECONDS", 0.05)
    loop, talker = asyncio.get_running_loop(), Talker(most=0)
    async with serving(talker) as (port, _):
        for said, answers in ((b"", 0), (b"GET / HT", 0), (HEADING + b"\r\n", 1), (HEADING + b"\r\n" + HEADING, 1)):
            with connected(port) as client:
                await loop.sock_sendall(client, said)
                if answers:
                    assert (await loop.sock_recv(client, 1 << 16)).startswith(b"HTTP/1.1 200")
                    # A heading of its own, after one that was answered.
                    await loop.sock_sendall(client, b"GE" if said.endswith(b"\r\n\r\n") else b"x")
                await read_all(client)  # comes to an end
