"""A receiver of webhooks on this machine: keeps what it was sent, and answers as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Got:
    """One request: its headers by their names in small letters, and its body."""

    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """Its `webhook-id`."""
        return self.headers["webhook-id"]

    @property
    def said(self) -> dict[str, Any]:
        """Its body, read."""
        found: dict[str, Any] = json.loads(self.body)
        return found


Answer = int | tuple[int, dict[str, str]] | None
"""A status, with headers or without; None: none is ever given."""


class Receiver:
    """Answers 200, unless `answers` says otherwise for a request, and not before it is `opened`.

    What it got is in `got`, also what it did not take.
    """

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.taken: list[Got] = []
        self.answers: Callable[[Got], Answer] = lambda got: 200
        self.opened = asyncio.Event()
        self.opened.set()
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hooks?of=punchcard"

    @property
    def ids(self) -> list[str]:
        """The ids of the messages that it took, in order."""
        return [got.id for got in self.taken]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers the requests of one connection."""
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                got = Got(headers, await reader.readexactly(int(headers["content-length"])))
                self.got.append(got)
                await self.opened.wait()
                answer = self.answers(got)
                if answer is None:
                    await reader.read()
                    break
                status, also = answer if isinstance(answer, tuple) else (answer, {})
                if 200 <= status < 300:
                    self.taken.append(got)
                said = [f"HTTP/1.1 {status} Said", "content-length: 2", *(f"{k}: {v}" for k, v in also.items())]
                writer.write("\r\n".join([*said, "", "ok"]).encode())
        writer.close()


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver, while the block runs."""
    found = Receiver()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    yield found
    server.close()


async def _listen() -> None:
    async with receiving() as receiver:
        print(receiver.port, flush=True)  # noqa: T201  # for who started it
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_listen())
