"""GraphQL over WebSocket by the protocol graphql-transport-ws: many operations on one socket.

Source: PROTOCOL.md of graphql-ws. A frame that is not a message of the protocol closes the socket with the code 4400.
An operation that fails gets an error under its own id; the other operations continue.
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
from app.telemetry.operations import observe_operation

log = logging.getLogger(__name__)

PROTOCOL = "graphql-transport-ws"
MAX_OPERATIONS = 100
"""Operations that run at once on one socket."""
MAX_ID_CHARACTERS = 255
"""Characters of an operation's id."""
MAX_UNSENT_OPERATIONS = 2 * MAX_OPERATIONS
"""Operations of one socket whose last message is not sent yet. Beyond this number, the API reads no more messages."""


class _Close(Exception):
    """The reason to close a socket: a close code and a text for developers."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class GraphQLSocket:
    """ASGI application that serves WebSocket connections: up to `limit`, and up to `limit_per_key` for one API key."""

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
        self._limit = limit
        self._quota = Quota("sockets", limit, limit_per_key)
        self._connections: set[_Connection] = set()

    async def shut_down(self) -> None:
        """End all subscriptions, wait until queries and mutations are answered, and close every socket with 1001."""
        await asyncio.gather(*(connection.shut_down() for connection in self._connections))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection until either side closes it."""
        socket = WebSocket(scope, receive, send)
        if not _may_connect(socket.headers, self._origins):
            await socket.close(1008)
        elif PROTOCOL not in socket.scope["subprotocols"]:
            await socket.accept()
            await socket.close(4406, f"Use the sub-protocol {PROTOCOL}")
        elif len(self._connections) >= self._limit:
            # Count sockets before they send their key, so that clients without a key cannot exhaust the process.
            await socket.accept(PROTOCOL)
            await socket.close(1013, f"At most {self._limit} sockets may be open at once; retry later")
        else:
            await socket.accept(PROTOCOL)
            connection = _Connection(
                socket=socket,
                engine=self._engine,
                open_context=self._open_context,
                persisted=self._persisted,
                quota=self._quota,
            )
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
    """One socket with its running operations."""

    def __init__(
        self, socket: WebSocket, engine: Engine, open_context: OpenContext, persisted: PersistedDocuments, quota: Quota
    ) -> None:
        self._socket = socket
        self._persisted = persisted
        self._quota = quota
        self._on_close = contextlib.ExitStack()
        """Gives the socket back to the quota."""
        self._engine = engine
        self._open_context = open_context
        self._authorization: str | None = None
        self._is_acknowledged = False
        self._is_initialised = False
        self._is_shutting_down = False
        self._operations: dict[str, asyncio.Task[None]] = {}
        """Running operations, by the id that the client gave."""
        self._unsent: set[asyncio.Task[None]] = set()
        """Operations whose last message is not sent yet."""
        self._streams: set[str] = set()
        """Ids of running subscriptions."""
        # Operations end at any time, but frames must be sent one after the other.
        self._send_lock = asyncio.Lock()

    async def serve(self, init_timeout_seconds: float) -> None:
        try:
            try:
                try:
                    async with asyncio.timeout(init_timeout_seconds):
                        while not self._is_initialised:
                            await self._handle(await self._receive())
                except TimeoutError:
                    raise _Close(4408, "Connection initialisation timeout") from None
                while True:
                    await self._handle(await self._receive())
            except _Close as close:
                with _translate_closed():
                    await self._socket.close(close.code, close.reason)
        except WebSocketDisconnect as disconnect:
            log.debug("socket closed: code=%s", disconnect.code)
        finally:
            self._on_close.close()
            await self._stop(*self._operations)

    async def shut_down(self) -> None:
        self._is_shutting_down = True
        # Send no `complete`: it would tell the client that the stream has ended. The client shall reconnect instead.
        await self._stop(*self._streams)
        await asyncio.gather(*self._operations.values(), return_exceptions=True)
        with contextlib.suppress(WebSocketDisconnect), _translate_closed():
            await self._socket.close(1001, "Going away")

    async def _receive(self) -> dict[str, Any]:
        frame = await self._socket.receive()
        if frame["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(frame.get("code", 1005))
        text = frame.get("text")
        if text is None:
            raise _Close(4400, "Messages must be text")
        try:
            message = decode_json(text)
        except ValueError:
            raise _Close(4400, "Messages must be JSON") from None
        if not isinstance(message, dict):
            raise _Close(4400, "Messages must be JSON objects")
        return message

    async def _handle(self, message: dict[str, Any]) -> None:
        match message.get("type"):
            case "connection_init":
                await self._init(message.get("payload"))
            case "ping":
                await self._send({"type": "pong"})
            case "pong":
                pass
            case "subscribe" if self._is_shutting_down:
                pass
            case "subscribe":
                await self._subscribe(_parse_operation_id(message), message.get("payload"))
            case "complete":
                await self._stop(_parse_operation_id(message))
            case _:
                raise _Close(4400, "The type of the message is unknown")

    async def _init(self, payload: object) -> None:
        if self._is_initialised:
            raise _Close(4429, "Too many initialisation requests")
        self._is_initialised = True
        if payload is not None and not isinstance(payload, dict):
            raise _Close(4400, "The payload of connection_init must be an object")
        authorization = {str(name).lower(): value for name, value in (payload or {}).items()}.get("authorization")
        if authorization is not None and not isinstance(authorization, str):
            raise _Close(4400, "authorization must be a text")
        self._authorization = authorization if authorization is not None else self._socket.headers.get("authorization")
        try:
            context = await self._create_context()
            self._on_close.enter_context(self._quota.acquire(context.actor.key_id))
        except Unauthenticated:
            raise _Close(4403, "Forbidden") from None
        except RequestRefused as refusal:
            raise _Close(1013, str(refusal)) from None
        except PunchcardError:
            raise _Close(1013, "Try again later") from None
        self._is_acknowledged = True
        await self._send({"type": "connection_ack"})

    async def _subscribe(self, operation_id: str, payload: object) -> None:
        if not self._is_acknowledged:
            raise _Close(4401, "Unauthorized")
        if operation_id in self._operations:
            raise _Close(4409, f"Subscriber for {operation_id} already exists"[:120])
        if not isinstance(payload, dict):
            raise _Close(4400, "The payload of subscribe must be an object")
        try:
            request: Request | RequestRefused = parse_request(payload)
        except RequestRefused as refusal:
            if refusal.errors[0]["extensions"]["code"] == ErrorCode.BAD_REQUEST:
                raise _Close(4400, str(refusal)[:120]) from None
            request = refusal
        if len(self._operations) >= MAX_OPERATIONS:
            message = f"At most {MAX_OPERATIONS} operations may run on one socket at once. Stop one, then retry."
            request = refuse(ErrorCode.THROTTLED, message)
        task = self._operations[operation_id] = asyncio.create_task(self._run(operation_id, request))
        self._unsent.add(task)
        task.add_done_callback(self._unsent.discard)
        # An operation frees its id before its last message is sent, so MAX_OPERATIONS does not stop a client that sends
        # operations and reads nothing.
        while len(self._unsent) >= MAX_UNSENT_OPERATIONS:
            await asyncio.wait(self._unsent, return_when=asyncio.FIRST_COMPLETED)

    async def _run(self, operation_id: str, request: Request | RequestRefused) -> None:
        try:
            last = await self._answer(operation_id, request)
            # Free the id before the client reads that the operation has ended: it may reuse the id at once.
            self._operations.pop(operation_id, None)
            self._streams.discard(operation_id)
            await self._send(last)
        except WebSocketDisconnect as disconnect:
            log.debug("socket closed during an operation: code=%s", disconnect.code)

    async def _answer(self, operation_id: str, request: Request | RequestRefused) -> dict[str, Any]:
        """Run an operation and send every result.

        Return the message that ends the operation, for the caller to send.
        """
        with observe_operation("ws", "socket") as operation:
            try:
                if isinstance(request, RequestRefused):
                    raise request
                context = await self._create_context()
                request = await self._persisted.complete(request, context.actor)
                prepared = self._engine.prepare(request)
                await self._persisted.keep(request)
                if prepared.kind is OperationType.SUBSCRIPTION:
                    if self._is_shutting_down:
                        raise WebSocketDisconnect(1001)
                    self._streams.add(operation_id)
                async with contextlib.aclosing(self._engine.stream(prepared, context)) as bodies:
                    async for body in bodies:
                        operation.note_response(body)
                        await self._send({"id": operation_id, "type": "next", "payload": body})
                return {"id": operation_id, "type": "complete"}
            except WebSocketDisconnect:
                raise
            except RequestRefused as error:
                refusal = error
            except Exception as error:  # noqa: BLE001  # a bug in one operation must not close the socket
                refusal = refuse_with(error)
            operation.note_response(refusal.body)
            return {"id": operation_id, "type": "error", "payload": refusal.errors}

    async def _create_context(self) -> OperationContext:
        client = self._socket.client
        return await self._open_context(self._socket.headers, client.host if client else None, self._authorization)

    async def _send(self, message: dict[str, Any]) -> None:
        async with self._send_lock:
            with _translate_closed():
                await self._socket.send_text(encode_json(message).decode())

    async def _stop(self, *operation_ids: str) -> None:
        tasks = [task for key in operation_ids if (task := self._operations.pop(key, None)) is not None]
        self._streams.difference_update(operation_ids)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def _translate_closed() -> Iterator[None]:
    """Raise WebSocketDisconnect instead of the RuntimeError that Starlette raises for a send to a closed socket."""
    try:
        yield
    except RuntimeError:
        raise WebSocketDisconnect(1006) from None


def _parse_operation_id(message: dict[str, Any]) -> str:
    operation_id = message.get("id")
    if not isinstance(operation_id, str) or not 0 < len(operation_id) <= MAX_ID_CHARACTERS:
        raise _Close(4400, f"The id must be a text of 1 to {MAX_ID_CHARACTERS} characters")
    return operation_id
