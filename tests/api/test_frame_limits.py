"""WebSocket clients that try to keep the API busy: with large or many frames, before and after they send a key."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.config.settings import Settings
from tests.measured_api import MeasuredApi, run_measured_api
from tests.patience import PATIENCE_SECONDS
from tests.servers import Servers

TEXT, BINARY, CLOSE, PING, CONTINUATION = 0x1, 0x2, 0x8, 0x9, 0x0
FINAL, COMPRESSED = 0x80, 0x40
FLOATS = '{"type":"ping","payload":[' + ",".join(["1.1"] * 1_040_000) + "]}"
"""A message of 4 MB that permessage-deflate makes 4 KB. Decoding its numbers one by one took 1.2 s."""


def frame(payload: bytes, head: int = FINAL | TEXT) -> bytes:
    """Return a masked frame with this first byte."""
    mask, size = os.urandom(4), len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    else:
        length = b"\xfe" + size.to_bytes(2, "big") if size < 65_536 else b"\xff" + size.to_bytes(8, "big")
    repeated = (mask * (size // 4 + 1))[:size]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")
    return bytes([head]) + length + mask + masked


def compress(text: str) -> bytes:
    """Return the payload of a compressed message."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -11)
    return (compressor.compress(text.encode()) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflate(payload: bytes) -> bytes:
    """Return the message in the payload of a compressed frame."""
    return zlib.decompressobj(-11).decompress(payload + b"\x00\x00\xff\xff")


@dataclass
class RawSocket:
    """A WebSocket whose frames the test writes byte by byte."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def read_frame(self) -> tuple[int, bytes]:
        """Return the opcode and the payload of the next frame."""
        head, size = await self.reader.readexactly(2)
        if size == 126:
            size = int.from_bytes(await self.reader.readexactly(2), "big")
        return head & 0x0F, await self.reader.readexactly(size)

    async def read_close_code(self) -> int:
        """Read frames until the server closes the socket, and return its close code; 1006 without one."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    opcode, payload = await self.read_frame()
                    if opcode == CLOSE:
                        return int.from_bytes(payload[:2], "big")
        except (asyncio.IncompleteReadError, ConnectionError):
            return 1006

    async def send(self, *frames: bytes) -> None:
        """Send frames. A server that closes the socket meanwhile is no error."""
        try:
            self.writer.writelines(frames)
            await self.writer.drain()
        except ConnectionError:
            pass

    async def initialise(self, secret: str) -> None:
        """Send the key and wait for the acknowledgement."""
        message = {"type": "connection_init", "payload": {"authorization": f"Bearer {secret}"}}
        await self.send(frame(json.dumps(message).encode()))
        opcode, _ = await self.read_frame()
        assert opcode == TEXT


@asynccontextmanager
async def open_socket(api: MeasuredApi) -> AsyncIterator[RawSocket]:
    """Open a socket with permessage-deflate, and read the answer to its handshake."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    lines = (
        "GET /graphql HTTP/1.1",
        "Host: x",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: graphql-transport-ws",
        "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover; "
        "client_max_window_bits",
    )
    try:
        writer.write("\r\n".join((*lines, "", "")).encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in answer.splitlines()[0]
        assert b"permessage-deflate" in answer
        yield RawSocket(reader, writer)
    finally:
        writer.close()


@pytest.fixture(scope="module")
async def api(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeasuredApi]:
    settings: Settings = servers.settings
    folder: Path = tmp_path_factory.mktemp("measured")
    changes = {"database": f"frames{os.getpid()}", "budget_points": 10_000, "budget_per_second": 1}
    async with run_measured_api(settings, folder, **changes) as running:
        yield running


@pytest.mark.parametrize(
    ("frames", "codes"),
    [
        pytest.param([frame(compress(FLOATS), FINAL | COMPRESSED | TEXT)] * 6, (1009,), id="compressed"),
        pytest.param([frame(FLOATS.encode())], (1009,), id="large"),
        pytest.param([frame(b'{"type":"ping"}')] * 1_000, (4400, 1009), id="pings of the protocol"),
        pytest.param([frame(b"", FINAL | PING)] * 20_000, (1009,), id="pings of WebSocket"),
        pytest.param([frame(b"", TEXT), *[frame(b"", CONTINUATION)] * 20_000], (1009,), id="empty fragments"),
        pytest.param(
            [frame(compress("x" * 3_000_000)[:2_000], COMPRESSED | TEXT), *[frame(b"", CONTINUATION)] * 9],
            (1009,),
            id="compressed fragments",
        ),
        pytest.param([frame(b'{"type":"complete","id":"1"}')], (4401,), id="another message"),
    ],
)
async def test_client_without_a_key_takes_little_cpu_before_it_is_disconnected(
    api: MeasuredApi, frames: list[bytes], codes: tuple[int, ...]
) -> None:
    """The first attack took 7 s of CPU with 24 KB, in which the API answered no other client."""
    before = await api.cpu_seconds()
    for _ in range(5):
        async with open_socket(api) as socket:
            await socket.send(*frames)
            # The server may reset the connection while the client still sends.
            assert await socket.read_close_code() in (*codes, 1006)
    assert await api.cpu_seconds() - before < 1


async def test_client_with_a_key_pays_for_the_inflated_size_of_its_messages(api: MeasuredApi) -> None:
    """A message of 4 MB costs 4,062 points. The third one exceeds the budget, and the API does not decode it."""
    before = await api.cpu_seconds()
    async with open_socket(api) as socket:
        await socket.initialise(await api.create_key("read"))
        await socket.send(*[frame(compress(FLOATS), FINAL | COMPRESSED | TEXT)] * 50)
        assert await socket.read_close_code() in (1013, 1006)
    assert await api.cpu_seconds() - before < 2


@pytest.mark.parametrize(
    ("head", "payload"), [(FINAL | PING, b""), (FINAL | TEXT, b'{"type":"pong"}')], ids=["WebSocket", "protocol"]
)
async def test_client_that_sends_frames_too_fast_is_read_slowly(api: MeasuredApi, head: int, payload: bytes) -> None:
    async with open_socket(api) as socket:
        await socket.initialise(await api.create_key("read"))
        before = await api.cpu_seconds()
        sending = asyncio.create_task(socket.send(*[frame(payload, head)] * 200_000))
        for _ in range(20):
            # Other clients are answered meanwhile.
            await api.cpu_seconds()
        assert await api.cpu_seconds() - before < 1
        assert api.memory_bytes() < 400_000_000
        sending.cancel()


async def test_message_of_too_many_fragments_closes_with_1009(api: MeasuredApi) -> None:
    async with open_socket(api) as socket:
        await socket.initialise(await api.create_key("read"))
        await socket.send(frame(b"", TEXT), *[frame(b"", CONTINUATION)] * 1_100)
        assert await socket.read_close_code() == 1009


async def test_large_message_and_many_operations_are_answered_after_connection_ack(api: MeasuredApi) -> None:
    async with open_socket(api) as socket:
        await socket.initialise(await api.create_key("read"))
        large = {
            "id": "large",
            "type": "subscribe",
            "payload": {"query": "{ __typename }", "variables": {"a": "x" * 100_000}},
        }
        small = [{"id": str(n), "type": "subscribe", "payload": {"query": "{ __typename }"}} for n in range(90)]
        await socket.send(*(frame(json.dumps(message).encode()) for message in (large, *small)))
        complete: set[str] = set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(complete) < 91:
                opcode, payload = await socket.read_frame()
                assert opcode in (TEXT, PING)
                message = json.loads(inflate(payload))
                assert message["type"] != "error", message
                complete |= {message["id"]} if message["type"] == "complete" else set()
