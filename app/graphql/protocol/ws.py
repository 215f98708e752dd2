"""GraphQL over WebSocket by the protocol graphql-transport-ws: many operations on one socket.

Source: PROTOCOL.md of graphql-ws. A frame that is not a message of the protocol closes the socket with the code 4400.
An operation that fails gets an error under its own id; the other operations continue.
"""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from app.graphql.execution.engine import Engine, OpenContext
from app.graphql.execution.persisted import PersistedDocuments
from app.graphql.execution.quotas import Quota

from .waiting import WaitingPool
from .ws_connection import SocketConnection
from .ws_rules import PROTOCOL, may_connect

MIN_WAITING_SOCKETS = 20
WAITING_PERCENT = 10
"""Sockets that may wait for their acknowledgement, as a share of the limit of all sockets."""


class GraphQLSocket:
    """ASGI application that serves WebSocket connections: up to `limit`, and up to `limit_per_key` for one API key.

    Sockets count towards the limits once their key is accepted. Before, they wait in a small pool.
    """

    def __init__(
        self,
        engine: Engine,
        open_context: OpenContext,
        persisted: PersistedDocuments,
        *,
        origins: tuple[str, ...] = (),
        init_timeout_seconds: float = 10.0,
        limit: int = 5_000,
        limit_per_key: int = 2_000,
    ) -> None:
        self._engine = engine
        self._open_context = open_context
        self._persisted = persisted
        self._origins = origins
        self._init_timeout_seconds = init_timeout_seconds
        self._quota = Quota("sockets", limit, limit_per_key)
        self._waiting = WaitingPool(max(MIN_WAITING_SOCKETS, limit * WAITING_PERCENT // 100))
        self._connections: set[SocketConnection] = set()

    async def shut_down(self) -> None:
        """End all subscriptions, wait until queries and mutations are answered, and close every socket with 1001."""
        await asyncio.gather(*(connection.shut_down() for connection in self._connections))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection until either side closes it."""
        socket = WebSocket(scope, receive, send)
        if not may_connect(socket.headers, self._origins):
            await socket.close(1008)
        elif PROTOCOL not in socket.scope["subprotocols"]:
            await socket.accept()
            await socket.close(4406, f"Use the sub-protocol {PROTOCOL}")
        else:
            await socket.accept(PROTOCOL)
            connection = SocketConnection(
                socket=socket,
                engine=self._engine,
                open_context=self._open_context,
                persisted=self._persisted,
                quota=self._quota,
                waiting=self._waiting,
            )
            self._connections.add(connection)
            try:
                await connection.serve(self._init_timeout_seconds)
            finally:
                self._connections.discard(connection)
