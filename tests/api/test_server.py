"""The server of `punchcard api` closes its doors behind those who had already knocked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn

from app.api.asgi import create_app
from app.api.server import DrainingServer
from app.api.shutdown import Shutdown
from app.resources import Resources

REQUEST = b"GET /healthz HTTP/1.1\r\nhost: punchcard\r\n\r\n"


@asynccontextmanager
async def started(resources: Resources) -> AsyncIterator[tuple[DrainingServer, tuple[str, int]]]:
    """A server that has started, and where it listens; the test shuts it down."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Resources]:
        yield resources

    draining = Shutdown()
    app = create_app(resources.settings, resources=opened, draining=draining)
    config = uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=5)
    config.load()
    server = DrainingServer(config, draining)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    yield server, server.servers[0].sockets[0].getsockname()


async def test_who_connected_before_the_end_is_answered_although_nobody_had_accepted_it(resources: Resources) -> None:
    async with started(resources) as (server, address):
        with socket.create_connection(address, timeout=10) as client:
            client.sendall(REQUEST)
            # The loop has not run since, so the connection lies in the kernel's queue.
            await server.shutdown()
            answer = client.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close" in answer


async def test_a_request_that_meets_the_end_on_an_idle_connection_is_answered(resources: Resources) -> None:
    async with started(resources) as (server, address):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(REQUEST)
        first = await reader.readuntil(b"}")
        shutdown = asyncio.create_task(server.shutdown())
        await asyncio.sleep(0)
        writer.write(REQUEST)
        second = await reader.read()
        await shutdown
        writer.close()
    assert b"connection: close" not in first
    assert second.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close" in second


async def test_who_comes_after_the_end_is_refused(resources: Resources) -> None:
    async with started(resources) as (server, address):
        await server.shutdown()
        try:
            socket.create_connection(address, timeout=10).close()
        except ConnectionRefusedError:
            return
    raise AssertionError("somebody still listens")
