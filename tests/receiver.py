"""A local HTTP server that receives webhooks: it stores each request and responds as the test wants."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ReceivedRequest:
    """One request: its headers by lower-case name, and its body."""

    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The header `webhook-id`."""
        return self.headers["webhook-id"]

    @property
    def payload(self) -> dict[str, Any]:
        """The body, parsed as JSON."""
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


Answer = int | tuple[int, dict[str, str]] | None
"""A status, with or without extra headers; None: the receiver never responds."""


class Receiver:
    """A server that responds with 200 unless `respond` returns something else, and only while `may_respond` is set.

    `requests` are all requests, `accepted` those that the receiver answered with a 2xx status.
    """

    def __init__(self) -> None:
        self.requests: list[ReceivedRequest] = []
        self.accepted: list[ReceivedRequest] = []
        self.respond: Callable[[ReceivedRequest], Answer] = lambda got: 200
        self.may_respond = asyncio.Event()
        self.may_respond.set()
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        """The URL to send webhooks to."""
        return f"http://127.0.0.1:{self.port}/hooks?of=punchcard"

    @property
    def ids(self) -> list[str]:
        """The ids of the accepted messages, in order."""
        return [got.id for got in self.accepted]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Respond to the requests of one connection."""
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                request = ReceivedRequest(headers, await reader.readexactly(int(headers["content-length"])))
                self.requests.append(request)
                await self.may_respond.wait()
                answer = self.respond(request)
                if answer is None:
                    await reader.read()
                    break
                status, extra = answer if isinstance(answer, tuple) else (answer, {})
                if 200 <= status < 300:
                    self.accepted.append(request)
                head = [f"HTTP/1.1 {status} Said", "content-length: 2", *(f"{k}: {v}" for k, v in extra.items())]
                writer.write("\r\n".join([*head, "", "ok"]).encode())
        writer.close()


@contextlib.asynccontextmanager
async def run_receiver() -> AsyncIterator[Receiver]:
    """Run a receiver on a free port while the block runs."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    yield receiver
    server.close()


async def _listen() -> None:
    async with run_receiver() as receiver:
        print(receiver.port, flush=True)  # noqa: T201  # the process that started this one reads the port
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_listen())
