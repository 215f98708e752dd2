"""graphql-transport-ws: one socket, many operations. Source: graphql-ws, PROTOCOL.md.

What a client sends is never trusted to have a shape: whatever is not a message of the protocol closes the socket with
4400. An operation that fails is answered under its own id and leaves the others alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from graphql import OperationType
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.domain.errors import PunchcardError, Unauthenticated
from app.graphql.errors import ErrorCode, RequestRefused, refuse, refuse_with
from app.graphql.execution.engine import Engine, OpenContext, OperationContext
from app.graphql.execution.persisted import PersistedDocuments
from app.graphql.execution.quotas import Quota
from app.graphql.execution.requests import Request, decode_json, encode_json, parse_request
from app.telemetry.operations import observed

log = logging.getLogger(__name__)

PROTOCOL = "graphql-transport-ws"
MAX_OPERATIONS = 100
MAX_ID = 255
MAX_UNFINISHED_MESSAGES = 2 * MAX_OPERATIONS


class _Close(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class GraphQLSocket:
    """An ASGI application that serves one socket a connection."""

    def __init__(
        self,
        engine: Engine,
        open_context: OpenContext,
        persisted: PersistedDocuments,
        *,
        origins: tuple[str, ...] = (),
        init_timeout_seconds: float = 10.0,
        most: int = 5_000,
        most_per_key: int = 2_000,
    ) -> None:
        self._engine = engine
        self._open_context = open_context
        self._persisted = persisted
        self._origins = origins
        self._init_timeout_seconds = init_timeout_seconds
        self._most = most
        self._places = Quota("sockets", most, most_per_key)
        self._connections: set[_Connection] = set()

    async def leave(self) -> None:
        """Closes every socket with 1001, its subscriptions first; returns when its queries and mutations are answered."""
        await asyncio.gather(*(connection.leave() for connection in self._connections))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection until either side closes it."""
        socket = WebSocket(scope, receive, send)
        if not _may_connect(socket.headers, self._origins):
            await socket.close(1008)
        elif PROTOCOL not in socket.scope["subprotocols"]:
            await socket.accept()
            await socket.close(4406, f"Use the sub-protocol {PROTOCOL}")
        elif len(self._connections) >= self._most:
            # Counted before they say who they are, so that nobody without a key can fill the process.
            await socket.accept(PROTOCOL)
            await socket.close(1013, f"At most {self._most} sockets are open here at once")
        else:
            await socket.accept(PROTOCOL)
            connection = _Connection(socket, self._engine, self._open_context, self._persisted, self._places)
            self._connections.add(connection)
            try:
                await connection.serve(self._init_timeout_seconds)
            finally:
                self._connections.discard(connection)


def _may_connect(headers: Headers, origins: tuple[str, ...]) -> bool:
    origin = headers.get("origin")
    if origin is None or "*" in origins or origin in origins:
        return True
    try:
        return urlsplit(origin).netloc == headers.get("host")
    except ValueError:
        return False


class _Connection:
    def __init__(
        self, socket: WebSocket, engine: Engine, open_context: OpenContext, persisted: PersistedDocuments, places: Quota
    ) -> None:
        self._socket = socket
        self._persisted = persisted
        self._places = places
        self._place = contextlib.ExitStack()
        self._engine = engine
        self._open_context = open_context
        self._authorization: str | None = None
        self._acknowledged = False
        self._initialised = False
        self._leaving = False
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._unfinished: set[asyncio.Task[None]] = set()
        self._streams: set[str] = set()
        # One frame after the other: operations finish whenever they like.
        self._sending = asyncio.Lock()

    async def serve(self, init_timeout_seconds: float) -> None:
        try:
            try:
                try:
                    async with asyncio.timeout(init_timeout_seconds):
                        while not self._initialised:
                            await self._handle(await self._received())
                except TimeoutError:
                    raise _Close(4408, "Connection initialisation timeout") from None
                while True:
                    await self._handle(await self._received())
            except _Close as close:
                with _gone():
                    await self._socket.close(close.code, close.reason)
        except WebSocketDisconnect as gone:
            log.debug("socket ended: %s", gone.code)
        finally:
            self._place.close()
            await self._stop(*self._operations)

    async def leave(self) -> None:
        self._leaving = True
        # No `complete`: it would tell the client that the stream is over, and this one only goes on elsewhere.
        await self._stop(*self._streams)
        await asyncio.gather(*self._operations.values(), return_exceptions=True)
        with contextlib.suppress(WebSocketDisconnect), _gone():
            await self._socket.close(1001, "Going away")

    async def _received(self) -> dict[str, Any]:
        frame = await self._socket.receive()
        if frame["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(frame.get("code", 1005))
        text = frame.get("text")
        if text is None:
            raise _Close(4400, "Messages are text")
        try:
            message = decode_json(text)
        except ValueError:
            raise _Close(4400, "Messages are JSON") from None
        if not isinstance(message, dict):
            raise _Close(4400, "Messages are objects")
        return message

    async def _handle(self, message: dict[str, Any]) -> None:
        match message.get("type"):
            case "connection_init":
                await self._init(message.get("payload"))
            case "ping":
                await self._send({"type": "pong"})
            case "pong":
                pass
            case "subscribe" if self._leaving:
                pass
            case "subscribe":
                await self._subscribe(_operation_id(message), message.get("payload"))
            case "complete":
                await self._stop(_operation_id(message))
            case _:
                raise _Close(4400, "Unknown type of message")

    async def _init(self, payload: object) -> None:
        if self._initialised:
            raise _Close(4429, "Too many initialisation requests")
        self._initialised = True
        if payload is not None and not isinstance(payload, dict):
            raise _Close(4400, "The payload of connection_init is an object")
        given = {str(name).lower(): value for name, value in (payload or {}).items()}.get("authorization")
        if given is not None and not isinstance(given, str):
            raise _Close(4400, "authorization is a text")
        self._authorization = given if given is not None else self._socket.headers.get("authorization")
        try:
            context = await self._context()
            self._place.enter_context(self._places.acquire(context.actor.key_id))
        except Unauthenticated:
            raise _Close(4403, "Forbidden") from None
        except RequestRefused as refusal:
            raise _Close(1013, str(refusal)) from None
        except PunchcardError:
            raise _Close(1013, "Try again later") from None
        self._acknowledged = True
        await self._send({"type": "connection_ack"})

    async def _subscribe(self, operation_id: str, payload: object) -> None:
        if not self._acknowledged:
            raise _Close(4401, "Unauthorized")
        if operation_id in self._operations:
            raise _Close(4409, f"Subscriber for {operation_id} already exists"[:120])
        if not isinstance(payload, dict):
            raise _Close(4400, "The payload of subscribe is an object")
        try:
            request: Request | RequestRefused = parse_request(payload)
        except RequestRefused as refusal:
            if refusal.errors[0]["extensions"]["code"] == ErrorCode.BAD_REQUEST:
                raise _Close(4400, str(refusal)[:120]) from None
            request = refusal
        if len(self._operations) >= MAX_OPERATIONS:
            request = refuse(ErrorCode.THROTTLED, f"At most {MAX_OPERATIONS} operations at once on one socket.")
        task = self._operations[operation_id] = asyncio.create_task(self._run(operation_id, request))
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        # Operations free their id before their last message is taken: a client that asks and reads nothing must wait.
        while len(self._unfinished) >= MAX_UNFINISHED_MESSAGES:
            await asyncio.wait(self._unfinished, return_when=asyncio.FIRST_COMPLETED)

    async def _run(self, operation_id: str, request: Request | RequestRefused) -> None:
        try:
            last = await self._answer(operation_id, request)
            # The id is free again before the client can read that it is.
            self._operations.pop(operation_id, None)
            self._streams.discard(operation_id)
            await self._send(last)
        except WebSocketDisconnect as gone:
            log.debug("socket ended under an operation: %s", gone.code)

    async def _answer(self, operation_id: str, request: Request | RequestRefused) -> dict[str, Any]:
        """Sends every result; the message that ends the operation is the caller's to send."""
        with observed("ws", "socket") as operation:
            try:
                if isinstance(request, RequestRefused):
                    raise request
                context = await self._context()
                request = await self._persisted.completed(request, context.actor)
                prepared = self._engine.prepare(request)
                await self._persisted.keep(request)
                if prepared.kind is OperationType.SUBSCRIPTION:
                    if self._leaving:
                        raise WebSocketDisconnect(1001)
                    self._streams.add(operation_id)
                async with contextlib.aclosing(self._engine.stream(prepared, context)) as bodies:
                    async for body in bodies:
                        operation.answered(body)
                        await self._send({"id": operation_id, "type": "next", "payload": body})
                return {"id": operation_id, "type": "complete"}
            except WebSocketDisconnect:
                raise
            except RequestRefused as refused_already:
                refusal = refused_already
            except Exception as error:  # noqa: BLE001  # a bug in one operation must not take the socket along
                refusal = refuse_with(error)
            operation.answered(refusal.body)
            return {"id": operation_id, "type": "error", "payload": refusal.errors}

    async def _context(self) -> OperationContext:
        client = self._socket.client
        return await self._open_context(self._socket.headers, client.host if client else None, self._authorization)

    async def _send(self, message: dict[str, Any]) -> None:
        async with self._sending:
            with _gone():
                await self._socket.send_text(encode_json(message).decode())

    async def _stop(self, *operation_ids: str) -> None:
        tasks = [task for key in operation_ids if (task := self._operations.pop(key, None)) is not None]
        self._streams.difference_update(operation_ids)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def _gone() -> Iterator[None]:
    # Starlette raises RuntimeError for a frame sent to a socket that is already closed.
    try:
        yield
    except RuntimeError:
        raise WebSocketDisconnect(1006) from None


def _operation_id(message: dict[str, Any]) -> str:
    operation_id = message.get("id")
    if not isinstance(operation_id, str) or not 0 < len(operation_id) <= MAX_ID:
        raise _Close(4400, "Give the operation an id")
    return operation_id
