"""One socket of the protocol graphql-transport-ws with its running operations."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from graphql import OperationType
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.domain.errors import PunchcardError, Unauthenticated
from app.graphql.errors import ErrorCode, RequestRefused, refuse, refuse_with
from app.graphql.execution.engine import Engine, OpenContext, OperationContext
from app.graphql.execution.persisted import PersistedDocuments
from app.graphql.execution.quotas import Quota
from app.graphql.execution.requests import Request, encode_json, parse_request
from app.telemetry.operations import observe_operation

from .waiting import WaitingPool
from .ws_rules import (
    MAX_EARLY_MESSAGE_BYTES,
    MAX_EARLY_PINGS,
    SocketClosed,
    decode_message,
    parse_operation_id,
    translate_closed,
)

log = logging.getLogger(__name__)

ACKNOWLEDGE = "punchcard.acknowledge"
"""Extension of the server's scope that lifts the limits on unacknowledged sockets (`app/api/frame_limits.py`)."""
MAX_OPERATIONS = 100
"""Operations that run at once on one socket."""
MAX_UNSENT_OPERATIONS = 2 * MAX_OPERATIONS
"""Operations of one socket whose last message is not sent yet. Beyond this number, the API reads no more messages."""
MAX_UNPAID_CHARACTERS = 16_384
"""Characters of a message that the API decodes although the key's budget does not cover them."""


class SocketConnection:
    """One socket with its running operations."""

    def __init__(
        self,
        socket: WebSocket,
        engine: Engine,
        open_context: OpenContext,
        persisted: PersistedDocuments,
        quota: Quota,
        waiting: WaitingPool,
    ) -> None:
        self._socket = socket
        self._persisted = persisted
        self._quota = quota
        self._waiting = waiting
        self._on_close = contextlib.ExitStack()
        """Gives the socket back to the quota."""
        self._engine = engine
        self._open_context = open_context
        self._authorization: str | None = None
        self._is_initialised = False
        self._context: OperationContext | None = None
        """The context of connection_init, which pays for messages; None until the socket is acknowledged."""
        self._payment: int | RequestRefused = 0
        """The points that were spent on the text of the last message, or the refusal if the budget is used up."""
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
                await self._wait_for_init(init_timeout_seconds)
                while True:
                    await self._handle(await self._receive())
            except SocketClosed as close:
                with translate_closed():
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
        with contextlib.suppress(WebSocketDisconnect), translate_closed():
            await self._socket.close(1001, "Going away")

    async def _wait_for_init(self, timeout_seconds: float) -> None:
        """Handle messages until the socket is acknowledged."""
        address = self._socket.client.host if self._socket.client else ""
        is_crowded_out = False

        def end() -> None:
            nonlocal is_crowded_out
            is_crowded_out = True
            if not timeout.expired():
                timeout.reschedule(0)

        try:
            async with asyncio.timeout(timeout_seconds) as timeout:
                with self._waiting.wait(address, end):
                    for _ in range(MAX_EARLY_PINGS + 1):
                        message = await self._receive()
                        await self._handle(message)
                        if self._is_initialised:
                            return
        except TimeoutError:
            if is_crowded_out:
                raise SocketClosed(1013, "Too many sockets wait for connection_init; retry later") from None
            raise SocketClosed(4408, "Connection initialisation timeout") from None
        raise SocketClosed(4400, f"Send connection_init after at most {MAX_EARLY_PINGS} other messages")

    async def _receive(self) -> dict[str, Any]:
        frame = await self._socket.receive()
        if frame["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(frame.get("code", 1005))
        text = frame.get("text")
        if text is None:
            raise SocketClosed(4400, "Messages must be text")
        if self._context is None:
            if len(text) > MAX_EARLY_MESSAGE_BYTES:
                raise SocketClosed(1009, "The first message is too large")
        else:
            await self._pay(self._context, len(text))
        return decode_message(text)

    async def _pay(self, context: OperationContext, size: int) -> None:
        context.spent_points = 0
        try:
            await self._engine.spend_on_text(context, size)
        except RequestRefused as refusal:
            if size > MAX_UNPAID_CHARACTERS:
                raise SocketClosed(1013, str(refusal)[:120]) from None
            self._payment = refusal
        else:
            self._payment = context.spent_points

    async def _handle(self, message: dict[str, Any]) -> None:
        match message.get("type"):
            case "connection_init":
                await self._init(message.get("payload"))
            case "ping":
                await self._send({"type": "pong"})
            case "pong":
                pass
            case "subscribe" | "complete" if self._context is None:
                raise SocketClosed(4401, "Unauthorized")
            case "subscribe" if self._is_shutting_down:
                pass
            case "subscribe":
                await self._subscribe(parse_operation_id(message), message.get("payload"))
            case "complete":
                await self._stop(parse_operation_id(message))
            case _:
                raise SocketClosed(4400, "The type of the message is unknown")

    async def _init(self, payload: object) -> None:
        if self._is_initialised:
            raise SocketClosed(4429, "Too many initialisation requests")
        self._is_initialised = True
        if payload is not None and not isinstance(payload, dict):
            raise SocketClosed(4400, "The payload of connection_init must be an object")
        authorization = {str(name).lower(): value for name, value in (payload or {}).items()}.get("authorization")
        if authorization is not None and not isinstance(authorization, str):
            raise SocketClosed(4400, "authorization must be a text")
        self._authorization = authorization if authorization is not None else self._socket.headers.get("authorization")
        try:
            context = await self._create_context()
            self._on_close.enter_context(self._quota.acquire(context.actor))
        except Unauthenticated:
            raise SocketClosed(4403, "Forbidden") from None
        except RequestRefused as refusal:
            raise SocketClosed(1013, str(refusal)) from None
        except PunchcardError:
            raise SocketClosed(1013, "Try again later") from None
        self._context = context
        acknowledge = self._socket.scope.get("extensions", {}).get(ACKNOWLEDGE)
        if acknowledge is not None:
            acknowledge["call"]()
        await self._send({"type": "connection_ack"})

    async def _subscribe(self, operation_id: str, payload: object) -> None:
        if operation_id in self._operations:
            raise SocketClosed(4409, f"Subscriber for {operation_id} already exists"[:120])
        if not isinstance(payload, dict):
            raise SocketClosed(4400, "The payload of subscribe must be an object")
        try:
            request: Request | RequestRefused = parse_request(payload)
        except RequestRefused as refusal:
            if refusal.errors[0]["extensions"]["code"] == ErrorCode.BAD_REQUEST:
                raise SocketClosed(4400, str(refusal)[:120]) from None
            request = refusal
        if isinstance(self._payment, RequestRefused):
            request, paid = self._payment, 0
        else:
            paid = self._payment
        if len(self._operations) >= MAX_OPERATIONS:
            message = f"At most {MAX_OPERATIONS} operations may run on one socket at once. Stop one, then retry."
            request = refuse(ErrorCode.THROTTLED, message)
        task = self._operations[operation_id] = asyncio.create_task(self._run(operation_id, request, paid))
        self._unsent.add(task)
        task.add_done_callback(self._unsent.discard)
        # An operation frees its id before its last message is sent, so MAX_OPERATIONS does not stop a client that sends
        # operations and reads nothing.
        while len(self._unsent) >= MAX_UNSENT_OPERATIONS:
            await asyncio.wait(self._unsent, return_when=asyncio.FIRST_COMPLETED)

    async def _run(self, operation_id: str, request: Request | RequestRefused, paid: int) -> None:
        try:
            last = await self._answer(operation_id, request, paid)
            # Free the id before the client reads that the operation has ended: it may reuse the id at once.
            self._operations.pop(operation_id, None)
            self._streams.discard(operation_id)
            await self._send(last)
        except WebSocketDisconnect as disconnect:
            log.debug("socket closed during an operation: code=%s", disconnect.code)

    async def _answer(self, operation_id: str, request: Request | RequestRefused, paid: int) -> dict[str, Any]:
        """Run an operation, on whose text `paid` points were spent, and send every result.

        Return the message that ends the operation, for the caller to send.
        """
        with observe_operation("ws", "socket") as operation:
            try:
                if isinstance(request, RequestRefused):
                    raise request
                context = await self._create_context()
                context.spent_points = paid
                operation.add_cost(paid)
                request = await self._persisted.complete(request, context.actor)
                prepared = await self._engine.prepare_paid(request, context)
                await self._persisted.keep(request, context.actor)
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
            with translate_closed():
                await self._socket.send_text(encode_json(message).decode())

    async def _stop(self, *operation_ids: str) -> None:
        tasks = [task for key in operation_ids if (task := self._operations.pop(key, None)) is not None]
        self._streams.difference_update(operation_ids)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
