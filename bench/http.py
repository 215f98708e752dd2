"""A GraphQL client that costs little CPU time: it keeps one connection, and requests are encoded beforehand."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, Self

import orjson

MAX_IDLE_SECONDS = 3
"""Idle time after which the client opens a new connection. The API closes one that is idle for five seconds."""


class Client:
    """Client of one API process over one connection at a time."""

    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter

    def __init__(self, host: str, port: int, secret: str) -> None:
        self._host, self._port, self._secret = host, port, secret
        self._used_at = 0.0

    @classmethod
    async def connect(cls, host: str, port: int, secret: str) -> Self:
        """Open a connection and return its client."""
        client = cls(host, port, secret)
        await client._open()
        return client

    def body(self, query: str, variables: dict[str, Any]) -> bytes:
        """Return a complete request as bytes, which can be sent several times."""
        content = orjson.dumps({"query": query, "variables": variables})
        head = (
            f"POST /graphql HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nAuthorization: Bearer {self._secret}\r\n"
            f"Content-Type: application/json\r\nAccept: application/graphql-response+json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content

    async def send(self, request: bytes) -> Any:
        """Send a request and return the decoded response."""
        if time.monotonic() - self._used_at > MAX_IDLE_SECONDS:
            await self.aclose()
            await self._open()
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        [length] = [line for line in head.split("\r\n") if line.startswith("content-length:")]
        answer = orjson.loads(await self._reader.readexactly(int(length.split(":")[1])))
        assert head.startswith("http/1.1 200"), (head, answer)
        self._used_at = time.monotonic()
        return answer

    async def ask(self, request: bytes) -> None:
        """Send a request, and fail if the response has errors."""
        answer = await self.send(request)
        assert "errors" not in answer, answer

    async def aclose(self) -> None:
        """Close the connection."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def _open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port, limit=1 << 24)
        self._used_at = time.monotonic()
