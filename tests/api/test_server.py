"""The server of `punchcard api`: at shutdown it answers clients that have already connected, and refuses later ones."""

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
from tests.patience import PATIENCE_SECONDS

REQUEST = b"GET /healthz HTTP/1.1\r\nhost: punchcard\r\n\r\n"


@asynccontextmanager
async def start_server(resources: Resources) -> AsyncIterator[tuple[DrainingServer, tuple[str, int]]]:
    """Start a server, and yield it with its address. The test must shut it down."""

    @asynccontextmanager
    async def shared_resources() -> AsyncIterator[Resources]:
        yield resources

    shutdown = Shutdown()
    app = create_app(resources.settings, resources=shared_resources, draining=shutdown)
    config = uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=int(PATIENCE_SECONDS))
    config.load()
    server = DrainingServer(config, shutdown)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    yield server, server.servers[0].sockets[0].getsockname()


async def test_connection_that_is_not_accepted_yet_is_answered_at_shutdown(resources: Resources) -> None:
    async with start_server(resources) as (server, address):
        with socket.create_connection(address, timeout=PATIENCE_SECONDS) as client:
            client.sendall(REQUEST)
            # The event loop has not run since the client connected, so the connection is in the kernel's queue.
            await server.shutdown()
            answer = client.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close" in answer


async def test_request_on_an_idle_connection_during_shutdown_is_answered(resources: Resources) -> None:
    async with start_server(resources) as (server, address):
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


async def test_connection_after_shutdown_is_refused(resources: Resources) -> None:
    async with start_server(resources) as (server, address):
        await server.shutdown()
        try:
            socket.create_connection(address, timeout=PATIENCE_SECONDS).close()
        except ConnectionRefusedError:
            return
    raise AssertionError("the server still listens")
