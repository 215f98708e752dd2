"""A GraphQL client that costs little CPU time: it keeps one connection, and requests are encoded beforehand."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import orjson


class Client:
    """Client of one API process over one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, secret: str) -> None:
        self._reader, self._writer, self._host, self._secret = reader, writer, host, secret

    @classmethod
    async def connect(cls, host: str, port: int, secret: str) -> Self:
        """Open a connection and return its client."""
        reader, writer = await asyncio.open_connection(host, port, limit=1 << 24)
        return cls(reader, writer, f"{host}:{port}", secret)

    def body(self, query: str, variables: dict[str, Any]) -> bytes:
        """Return a complete request as bytes, which can be sent several times."""
        content = orjson.dumps({"query": query, "variables": variables})
        head = (
            f"POST /graphql HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {self._secret}\r\n"
            f"Content-Type: application/json\r\nAccept: application/graphql-response+json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content

    async def send(self, request: bytes) -> Any:
        """Send a request and return the decoded response."""
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        [length] = [line for line in head.split("\r\n") if line.startswith("content-length:")]
        answer = orjson.loads(await self._reader.readexactly(int(length.split(":")[1])))
        assert head.startswith("http/1.1 200"), (head, answer)
        return answer

    async def ask(self, request: bytes) -> None:
        """Send a request, and fail if the response has errors."""
        answer = await self.send(request)
        assert "errors" not in answer, answer

    async def aclose(self) -> None:
        """Close the connection."""
        self._writer.close()
        await self._writer.wait_closed()
