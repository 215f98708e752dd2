"""Server-sent events with one stream for all operations of a client.

Source: PROTOCOL.md of graphql-sse, "Single connection mode". A client reserves a stream, opens it with the token of the
reservation, and sends operations with the same token. The responses arrive on the stream. Only the process that made a
reservation knows it, so a proxy in front of several processes must send a client to the same process.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator
from typing import Any

from app.domain.actors import Actor
from app.graphql.errors import ErrorCode, RequestRefused, refuse, refuse_with
from app.graphql.execution.quotas import Quota
from app.graphql.execution.requests import encode_json
from app.telemetry import operations
from app.telemetry.operations import Transport

from .streams import Bodies

TOKEN = "x-graphql-event-stream-token"
UNOPENED_TTL_SECONDS = 30.0
"""How long a reservation is kept if the client does not open its stream."""
MAX_QUEUED_MESSAGES = 100
"""Responses queued for a slow client. When the queue is full, the operations of the client wait."""
MAX_OPERATIONS = 100
"""Operations that run at once on one stream."""


class Channel:
    """Reservation of one client: its running operations and the stream that carries their responses.

    Closing `on_close` gives the reservation back to the quota.
    """

    def __init__(self, actor: Actor, on_close: contextlib.ExitStack) -> None:
        self.key_id = actor.key_id
        self.is_opened = False
        self._on_close = on_close
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MAX_QUEUED_MESSAGES)
        self._running: dict[str, asyncio.Task[None]] = {}

    def start(self, operation_id: str, bodies: Bodies) -> None:
        """Start to send the bodies of an operation to the stream under its id, and then the end of the operation.

        Raises RequestRefused: BAD_REQUEST for an id that is running, THROTTLED for too many operations.
        """
        if operation_id in self._running:
            message = "An operation with this 'operationId' is running. Use another id, or stop the operation first."
            raise refuse(ErrorCode.BAD_REQUEST, message)
        if len(self._running) >= MAX_OPERATIONS:
            message = f"At most {MAX_OPERATIONS} operations may run on one stream at once. Stop one, then retry."
            raise refuse(ErrorCode.THROTTLED, message)
        self._running[operation_id] = asyncio.create_task(self._run(operation_id, bodies))

    def stop(self, operation_id: str) -> None:
        """End an operation without sending anything. Safe to repeat."""
        task = self._running.pop(operation_id, None)
        if task is not None:
            task.cancel()

    def open(self) -> Bodies:
        """Return the messages for the stream. Closing the generator ends every operation."""
        self.is_opened = True
        return _Messages(self)

    async def next_message(self) -> dict[str, Any]:
        """Return the next message for the stream; wait until there is one."""
        return await self._messages.get()

    def close(self) -> None:
        """End every operation and give the reservation back. Safe to repeat."""
        for operation_id in list(self._running):
            self.stop(operation_id)
        self._on_close.close()

    async def _run(self, operation_id: str, bodies: Bodies) -> None:
        async with contextlib.aclosing(bodies):
            try:
                async for body in bodies:
                    await self._queue_response(operation_id, body)
            except RequestRefused as refusal:
                await self._queue_response(operation_id, refusal.body)
            except Exception as error:  # noqa: BLE001  # the client must get a response also after a bug
                await self._queue_response(operation_id, refuse_with(error).body)
        # Free the id before the client reads that the operation is complete: it may reuse the id at once.
        self._running.pop(operation_id, None)
        await self._messages.put({"id": operation_id})

    async def _queue_response(self, operation_id: str, body: dict[str, Any]) -> None:
        operations.current().note_response(body)
        await self._messages.put({"id": operation_id, "payload": body})


class Channels:
    """Reservations of one process, by token."""

    def __init__(self, limit: int = 5_000, limit_per_key: int = 2_000) -> None:
        self._quota = Quota("event streams", limit, limit_per_key)
        self._channels: dict[str, Channel] = {}

    def reserve(self, actor: Actor) -> str:
        """Make a reservation and return its token. The reservation ends unless its stream is opened within 30 s.

        Raises RequestRefused (THROTTLED).
        """
        token = secrets.token_urlsafe(24)
        with contextlib.ExitStack() as on_close:
            on_close.enter_context(self._quota.acquire(actor))
            on_close.callback(self._channels.pop, token, None)
            self._channels[token] = Channel(actor, on_close.pop_all())
        asyncio.get_running_loop().call_later(UNOPENED_TTL_SECONDS, self._close_unopened, token)
        return token

    def find(self, token: str, actor: Actor | None = None) -> Channel | None:
        """Return the reservation with this token, or None. With `actor`, only one that the actor's key made."""
        channel = self._channels.get(token)
        return channel if channel is not None and (actor is None or channel.key_id == actor.key_id) else None

    def _close_unopened(self, token: str) -> None:
        channel = self._channels.get(token)
        if channel is not None and not channel.is_opened:
            channel.close()


class _Messages(AsyncGenerator[dict[str, Any], None]):
    """Messages of a channel as a generator.

    Unlike a generator function, it closes the channel even before its start.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def asend(self, _value: None) -> dict[str, Any]:
        return await self._channel.next_message()

    async def athrow(self, kind: Any, value: Any = None, traceback: Any = None) -> dict[str, Any]:
        self._channel.close()
        raise kind


class _Multiplexed:
    """Framing of the shared stream: events `next` and `complete`, each with the id of its operation."""

    transport: Transport = "sse"
    content_type = "text/event-stream"
    opening = keepalive = b":\n\n"
    ending = b""

    def frame(self, body: dict[str, Any], cursor: str | None) -> bytes:
        """Return one event: `next` for a body with a payload, else `complete`."""
        name = b"next" if "payload" in body else b"complete"
        return b"event: " + name + b"\ndata: " + encode_json(body) + b"\n\n"


MULTIPLEXED = _Multiplexed()
