"""A small query that is asked again and again: Strawberry's bare endpoint, and the edge with every limit on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from app.local.processes import Child
from app.local.servers import free_port, listens

from .http import Client
from .timing import Act, Processes, Side, compared

SMALL = "query Small { rateLimit { limit remaining resetAt cost } }"
CONNECTIONS = 8
REQUESTS = 400
HOST = "127.0.0.1"


@asynccontextmanager
async def bare_endpoint(folder: Path) -> AsyncIterator[tuple[Child, int]]:
    """Strawberry's endpoint in a process of its own, served by the same server, and its port."""
    port = free_port()
    argv = (sys.executable, "-m", "uvicorn", "bench.bare:app", "--port", str(port), "--log-level", "warning")
    child = Child("bare", argv, log=folder / "bare.log", ready=lambda: listens(HOST, port))
    await child.start()
    try:
        yield child, port
    finally:
        await child.stop()


async def edge(processes: Processes, bare_port: int, api_port: int, secret: str, rounds: int) -> list[Side]:
    """Seconds for 400 requests over eight connections, each connection sending its next one when it has its answer."""
    sides, clients = [], []
    for name, port in (("Strawberry, bare", bare_port), ("the edge, every limit on", api_port)):
        own = [await Client.connected(HOST, port, secret) for _ in range(CONNECTIONS)]
        clients += own
        sides.append(Side(name, _asked(own), units=REQUESTS))
    await compared(sides, processes, rounds=rounds)
    for client in clients:
        await client.aclose()
    return sides


def _asked(clients: list[Client]) -> Callable[[], Awaitable[Act]]:
    request = clients[0].body(SMALL, {})

    async def ask(client: Client) -> None:
        for _ in range(REQUESTS // CONNECTIONS):
            answer = await client.send(request)
            assert answer["data"]["rateLimit"]["limit"] > 0, answer

    async def run() -> None:
        await asyncio.gather(*(ask(client) for client in clients))

    async def prepare() -> Act:
        return run

    return prepare
