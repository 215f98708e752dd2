"""An API over real HTTP and WebSocket, which runs in the process of the test with the test's store and clock."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from app.api.asgi import create_app
from app.api.slow_clients import SlowClientHttpProtocol, SlowClientWebSocketProtocol
from app.commands.workspaces.keys import new_key
from app.domain.actors import secret_hash
from app.resources import Resources
from tests.business import Business
from tests.patience import PATIENCE_SECONDS


@dataclass
class Api:
    """A client of a running API, with the secret of an API key of every scope, and the business that the API serves."""

    url: str
    secret: str
    business: Business
    # The client uses no TLS. It would load the certificates of the machine, which takes 25 ms of processor time.
    http: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=PATIENCE_SECONDS, verify=False))

    @property
    def headers(self) -> dict[str, str]:
        """The headers that carry the API key."""
        return {"authorization": f"Bearer {self.secret}"}

    async def execute(self, query: str, **variables: Any) -> dict[str, Any]:
        """Execute an operation and return the whole JSON response."""
        response = await self.post(json.dumps({"query": query, "variables": variables}))
        body: dict[str, Any] = response.json()
        return body

    async def fetch_data(self, query: str, **variables: Any) -> dict[str, Any]:
        """Execute an operation that must succeed, and return its data."""
        body = await self.execute(query, **variables)
        assert "errors" not in body, body
        data: dict[str, Any] = body["data"]
        return data

    async def fetch_error(self, query: str, **variables: Any) -> dict[str, Any]:
        """Execute an operation that must fail, and return its only error."""
        errors: list[dict[str, Any]] = (await self.execute(query, **variables))["errors"]
        [error] = errors
        return error

    async def post(self, body: str | bytes, **headers: str) -> httpx.Response:
        """Post a body as JSON with the API key, and return the response.

        An underscore in the name of a header stands for a hyphen. A header that is given replaces the default one.
        """
        all_headers = {**self.headers, "content-type": "application/json"}
        all_headers |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post(self.url, content=body, headers=all_headers)

    async def create_key(self, *scopes: str) -> str:
        """Create another API key with only these scopes, and return its secret."""
        workspace = self.business.ctx.workspace
        key, secret = await new_key(workspace.id, "test", scopes)
        await workspace.keys.insert(key, secret_hash(secret))
        return secret

    @asynccontextmanager
    async def open_raw_socket(self, **options: Any) -> AsyncIterator[Socket]:
        """Open a socket and send nothing on it."""
        options.setdefault("subprotocols", [Subprotocol("graphql-transport-ws")])
        # The client must not give up a connection because the machine is busy: its own limits are 10 and 20 s.
        options = {"open_timeout": PATIENCE_SECONDS, "ping_interval": None, **options}
        async with connect(self.url.replace("http", "ws", 1), **options) as connection:
            yield Socket(connection)

    @asynccontextmanager
    async def open_socket(self) -> AsyncIterator[Socket]:
        """Open a socket with the API key, and wait for `connection_ack`."""
        async with self.open_raw_socket(additional_headers=self.headers) as socket:
            await socket.send(type="connection_init")
            assert await socket.receive() == {"type": "connection_ack"}
            yield socket


@dataclass
class Socket:
    """A WebSocket of a client, which sends and receives JSON objects."""

    connection: ClientConnection

    async def send(self, **message: Any) -> None:
        """Send a message."""
        await self.connection.send(json.dumps(message))

    async def subscribe(self, query: str, id: str = "1", **variables: Any) -> None:  # noqa: A002  # the protocol's word
        """Start an operation."""
        await self.send(id=id, type="subscribe", payload={"query": query, "variables": variables})

    async def receive(self) -> dict[str, Any]:
        """Wait for the next message, and return it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            frame = await self.connection.recv()
        assert isinstance(frame, str), "frames are text"
        message: dict[str, Any] = json.loads(frame)
        return message

    async def receive_data(self) -> dict[str, Any]:
        """Wait for a message of type `next` without errors, and return its data."""
        message = await self.receive()
        assert message["type"] == "next", message
        assert "errors" not in message["payload"], message
        data: dict[str, Any] = message["payload"]["data"]
        return data

    async def receive_close_code(self) -> int | None:
        """Wait until the server closes the socket, and return the close code."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.connection.wait_closed()
        return self.connection.close_code


class Server(uvicorn.Server):
    """A uvicorn server that starts and stops without delay.

    The main loop of uvicorn looks only every 0.1 s whether the server should stop.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self.stopping = asyncio.Event()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        self.listening.set()
        await self.stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        while self.server_state.connections or self.server_state.tasks:
            await asyncio.sleep(0.001)
        await self.lifespan.shutdown()


@asynccontextmanager
async def run_server(config: uvicorn.Config) -> AsyncIterator[Server]:
    """Run a server while the block runs, and yield it when it listens."""
    server = Server(config)
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await server.listening.wait()
    try:
        yield server
    finally:
        server.stopping.set()
        await task


@asynccontextmanager
async def run_api(business: Business, **options: Any) -> AsyncIterator[Api]:
    """Run the API of a business on a free port while the block runs, and yield a client of it.

    It waits long for `connection_init`, and sends no heartbeat before a test would fail, unless the options differ.
    """
    options = {"heartbeat_seconds": PATIENCE_SECONDS, "init_timeout_seconds": PATIENCE_SECONDS, **options}

    @asynccontextmanager
    async def shared_resources() -> AsyncIterator[Resources]:
        yield business.ctx.resources

    app = create_app(business.ctx.resources.settings, resources=shared_resources, **options)
    config = uvicorn.Config(
        app,
        port=0,
        log_level="error",
        http=SlowClientHttpProtocol,
        ws=SlowClientWebSocketProtocol,
        ws_max_size=business.ctx.resources.settings.body_bytes,
    )
    async with run_server(config) as server:
        port = server.servers[0].sockets[0].getsockname()[1]
        api = Api(f"http://127.0.0.1:{port}/graphql", "", business)
        api.secret = await api.create_key("read", "write", "subscribe", "admin")
        try:
            yield api
        finally:
            await api.http.aclose()


def list_codes(errors: Sequence[dict[str, Any]]) -> list[tuple[str, list[str] | None]]:
    """Return (code, field) of each of the userErrors."""
    return [(error["code"], error["field"]) for error in errors]
