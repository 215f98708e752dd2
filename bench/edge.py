"""The part `edge`: a small query, repeated at a bare Strawberry endpoint and at the API with every limit on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from app.local.processes import Child
from app.local.servers import free_port, listens

from .http import Client
from .timing import Processes, Run, Side, compare

SMALL_QUERY = "query Small { rateLimit { limit remaining resetAt cost } }"
CONNECTIONS = 8
REQUESTS = 400
HOST = "127.0.0.1"


@asynccontextmanager
async def bare_endpoint(folder: Path) -> AsyncIterator[tuple[Child, int]]:
    """Run the bare Strawberry endpoint as a process with uvicorn, and yield the process and its port."""
    port = free_port()
    argv = (sys.executable, "-m", "uvicorn", "bench.bare:app", "--port", str(port), "--log-level", "warning")
    child = Child("bare", argv, log=folder / "bare.log", ready=lambda: listens(HOST, port))
    await child.start()
    try:
        yield child, port
    finally:
        await child.stop()


async def measure_edge(processes: Processes, bare_port: int, api_port: int, secret: str, rounds: int) -> list[Side]:
    """Measure the seconds for 400 requests over eight connections. A connection has one request under way at a time."""
    sides, clients = [], []
    for name, port in (("Strawberry, bare", bare_port), ("the API, every limit on", api_port)):
        side_clients = [await Client.connect(HOST, port, secret) for _ in range(CONNECTIONS)]
        clients += side_clients
        sides.append(Side(name, _prepare_requests(side_clients), units=REQUESTS))
    await compare(sides, processes, rounds=rounds)
    for client in clients:
        await client.aclose()
    return sides


def _prepare_requests(clients: list[Client]) -> Callable[[], Awaitable[Run]]:
    request = clients[0].body(SMALL_QUERY, {})

    async def ask(client: Client) -> None:
        for _ in range(REQUESTS // CONNECTIONS):
            answer = await client.send(request)
            assert answer["data"]["rateLimit"]["limit"] > 0, answer

    async def run() -> None:
        await asyncio.gather(*(ask(client) for client in clients))

    async def prepare() -> Run:
        return run

    return prepare
