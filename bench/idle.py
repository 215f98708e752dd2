"""The part `idle`: the memory that idle subscriptions cost the API, over WebSocket and as event streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import orjson
from websockets.asyncio.client import connect

from .timing import Processes

FOLLOW = (
    "subscription { activity { __typename ... on ActivityEdge { node { type data } } ... on Heartbeat { cursor } } }"
)
BATCH_SIZE = 50
WAIT_SECONDS = 12.0
"""Longer than the interval between heartbeats, because memory that a heartbeat keeps is part of the cost."""

Follower = Callable[[str, int, str], Awaitable[AsyncExitStack]]


async def measure_idle(
    processes: Processes, follower: Follower, host: str, port: int, secret: str, count: int
) -> float:
    """Return the megabytes by which `count` subscriptions increase the memory of the API process."""
    before = processes.memory()["api"]
    async with AsyncExitStack() as followers:
        for _ in range(0, count, BATCH_SIZE):
            for opened in await asyncio.gather(*(follower(host, port, secret) for _ in range(BATCH_SIZE))):
                followers.push_async_exit(opened)
        await asyncio.sleep(WAIT_SECONDS)
        return (processes.memory()["api"] - before) / 1e6


async def open_socket(host: str, port: int, secret: str) -> AsyncExitStack:
    """Subscribe over a new WebSocket, with compression as browsers offer it. The returned stack closes the socket."""
    async with AsyncExitStack() as stack:
        address = f"ws://{host}:{port}/graphql"
        opened = await stack.enter_async_context(connect(address, subprotocols=["graphql-transport-ws"]))  # type: ignore[list-item]
        for message in (
            {"type": "connection_init", "payload": {"Authorization": f"Bearer {secret}"}},
            {"id": "1", "type": "subscribe", "payload": {"query": FOLLOW}},
        ):
            await opened.send(orjson.dumps(message).decode())
            assert orjson.loads(await opened.recv())["type"] in ("connection_ack", "next")
        return stack.pop_all()


async def open_event_stream(host: str, port: int, secret: str) -> AsyncExitStack:
    """Subscribe as an event stream over a new connection. The returned stack closes the connection."""
    async with AsyncExitStack() as stack:
        reader, writer = await stack.enter_async_context(_connection(host, port))
        content = orjson.dumps({"query": FOLLOW})
        head = (
            f"POST /graphql HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {secret}\r\n"
            f"Content-Type: application/json\r\nAccept: text/event-stream\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        writer.write(head.encode() + content)
        await reader.readuntil(b"event: next\n")
        return stack.pop_all()


@asynccontextmanager
async def _connection(host: str, port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 24)
    try:
        yield reader, writer
    finally:
        writer.close()
