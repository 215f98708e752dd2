"""A running API over real HTTP and WebSocket, in the test's own process, with the test's own store and clock."""

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
from app.commands.workspaces.keys import new_key
from app.domain.actors import secret_hash
from app.resources import Resources
from tests.business import Business

SECONDS = 10.0


@dataclass
class Api:
    """The endpoint, a key with every scope, and the business behind it."""

    address: str
    secret: str
    business: Business
    http: httpx.AsyncClient = field(default_factory=httpx.AsyncClient)

    @property
    def headers(self) -> dict[str, str]:
        """The key as it is sent."""
        return {"authorization": f"Bearer {self.secret}"}

    async def answer(self, query: str, **variables: Any) -> dict[str, Any]:
        """The whole response of one operation."""
        body = json.dumps({"query": query, "variables": variables})
        response = await self.post(body)
        answer: dict[str, Any] = response.json()
        return answer

    async def data(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an operation that must not fail."""
        answer = await self.answer(query, **variables)
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    async def refusal(self, query: str, **variables: Any) -> dict[str, Any]:
        """The only error of an operation that must fail."""
        [error] = (await self.answer(query, **variables))["errors"]
        found: dict[str, Any] = error
        return found

    async def post(self, body: str | bytes, **headers: str) -> httpx.Response:
        """The response to a JSON body, whatever it is."""
        sent = {**self.headers, "content-type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post(self.address, content=body, headers=sent, timeout=SECONDS)

    async def key(self, *scopes: str) -> str:
        """The secret of a further key with only these scopes."""
        workspace = self.business.ctx.workspace
        key, secret = await new_key(workspace.id, "test", scopes)
        await workspace.keys.insert(key, secret_hash(secret))
        return secret

    @asynccontextmanager
    async def raw_socket(self, **options: Any) -> AsyncIterator[Socket]:
        """A socket on which nothing was said yet."""
        options.setdefault("subprotocols", [Subprotocol("graphql-transport-ws")])
        async with connect(self.address.replace("http", "ws", 1), **options) as connection:
            yield Socket(connection)

    @asynccontextmanager
    async def socket(self) -> AsyncIterator[Socket]:
        """A socket that is acknowledged."""
        async with self.raw_socket(additional_headers=self.headers) as socket:
            await socket.send(type="connection_init")
            assert await socket.receive() == {"type": "connection_ack"}
            yield socket


@dataclass
class Socket:
    """A socket that speaks JSON objects."""

    connection: ClientConnection

    async def send(self, **message: Any) -> None:
        """Sends a message."""
        await self.connection.send(json.dumps(message))

    async def subscribe(self, query: str, id: str = "1", **variables: Any) -> None:  # noqa: A002  # the protocol's word
        """Starts an operation."""
        await self.send(id=id, type="subscribe", payload={"query": query, "variables": variables})

    async def receive(self) -> dict[str, Any]:
        """The next message; fails after ten seconds."""
        async with asyncio.timeout(SECONDS):
            frame = await self.connection.recv()
        assert isinstance(frame, str), "frames are text"
        message: dict[str, Any] = json.loads(frame)
        return message

    async def next(self) -> dict[str, Any]:
        """The data of the next `next` message."""
        message = await self.receive()
        assert message["type"] == "next", message
        assert "errors" not in message["payload"], message
        data: dict[str, Any] = message["payload"]["data"]
        return data

    async def close_code(self) -> int | None:
        """The code with which the server closes."""
        async with asyncio.timeout(SECONDS):
            await self.connection.wait_closed()
        return self.connection.close_code


class Server(uvicorn.Server):
    """A server that goes away at once: uvicorn's own looks ten times a second whether anything has changed."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self.leaving = asyncio.Event()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        self.listening.set()
        await self.leaving.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        while self.server_state.connections or self.server_state.tasks:
            await asyncio.sleep(0.001)
        await self.lifespan.shutdown()


@asynccontextmanager
async def running(config: uvicorn.Config) -> AsyncIterator[Server]:
    """The server, listening."""
    server = Server(config)
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(SECONDS):
        await server.listening.wait()
    try:
        yield server
    finally:
        server.leaving.set()
        await serving


@asynccontextmanager
async def serving(business: Business, **options: Any) -> AsyncIterator[Api]:
    """The API of a business on a free port."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Resources]:
        yield business.ctx.resources

    app = create_app(business.ctx.resources.settings, resources=opened, **options)
    async with running(uvicorn.Config(app, port=0, log_level="error", ws_max_size=1 << 20)) as server:
        port = server.servers[0].sockets[0].getsockname()[1]
        api = Api(f"http://127.0.0.1:{port}/graphql", "", business)
        api.secret = await api.key("read", "write", "subscribe", "admin")
        try:
            yield api
        finally:
            await api.http.aclose()


def codes(errors: Sequence[dict[str, Any]]) -> list[tuple[str, list[str] | None]]:
    """(code, field) of userErrors."""
    return [(error["code"], error["field"]) for error in errors]
