"""One event stream for all operations of a client. Source: graphql-sse, PROTOCOL.md, "Single connection mode".

A client reserves a stream, opens it with the token it got, and sends operations with that token; their responses come on
the stream. A reservation lives in the process that made it: behind several, a proxy has to keep a client at one of them.
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
"""How long a reservation waits for its stream."""
MAX_QUEUED_MESSAGES = 100
"""How many responses wait for a slow client; then its operations wait."""
MAX_OPERATIONS = 100


class Channel:
    """One reservation: the operations of a client, and the stream on which it reads them."""

    def __init__(self, actor: Actor, place: contextlib.ExitStack) -> None:
        self.key_id = actor.key_id
        self.opened = False
        self._place = place
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MAX_QUEUED_MESSAGES)
        self._running: dict[str, asyncio.Task[None]] = {}

    def start(self, operation_id: str, bodies: Bodies) -> None:
        """Tells the stream every body under the id, then that the operation is complete.

        Raises RequestRefused: BAD_REQUEST for an id that is running, THROTTLED for too many operations.
        """
        if operation_id in self._running:
            raise refuse(ErrorCode.BAD_REQUEST, "An operation with this id is running.")
        if len(self._running) >= MAX_OPERATIONS:
            raise refuse(ErrorCode.THROTTLED, f"At most {MAX_OPERATIONS} operations at once on one stream.")
        self._running[operation_id] = asyncio.create_task(self._run(operation_id, bodies))

    def stop(self, operation_id: str) -> None:
        """Ends an operation without a word. Safe to repeat."""
        task = self._running.pop(operation_id, None)
        if task is not None:
            task.cancel()

    def open(self) -> Bodies:
        """What the stream tells; closing it ends every operation."""
        self.opened = True
        return _Messages(self)

    async def told(self) -> dict[str, Any]:
        """The next message."""
        return await self._messages.get()

    def close(self) -> None:
        """Ends every operation. Safe to repeat."""
        for operation_id in list(self._running):
            self.stop(operation_id)
        self._place.close()

    async def _run(self, operation_id: str, bodies: Bodies) -> None:
        async with contextlib.aclosing(bodies):
            try:
                async for body in bodies:
                    await self._tell(operation_id, body)
            except RequestRefused as refusal:
                await self._tell(operation_id, refusal.body)
            except Exception as error:  # noqa: BLE001  # a bug in one operation must not leave its client waiting
                await self._tell(operation_id, refuse_with(error).body)
        # The id is free again before the client can read that it is.
        self._running.pop(operation_id, None)
        await self._messages.put({"id": operation_id})

    async def _tell(self, operation_id: str, body: dict[str, Any]) -> None:
        operations.current().answered(body)
        await self._messages.put({"id": operation_id, "payload": body})


class Channels:
    """The reservations of a process."""

    def __init__(self, most: int = 5_000, most_per_key: int = 2_000) -> None:
        self._places = Quota("event streams", most, most_per_key)
        self._channels: dict[str, Channel] = {}

    def reserve(self, actor: Actor) -> str:
        """The token of a new reservation, forgotten unless it is opened soon. Raises RequestRefused (THROTTLED)."""
        token = secrets.token_urlsafe(24)
        with contextlib.ExitStack() as place:
            place.enter_context(self._places.acquire(actor.key_id))
            place.callback(self._channels.pop, token, None)
            self._channels[token] = Channel(actor, place.pop_all())
        asyncio.get_running_loop().call_later(UNOPENED_TTL_SECONDS, self._forget_unopened, token)
        return token

    def find(self, token: str, actor: Actor | None = None) -> Channel | None:
        """The reservation of a token, of this actor's key where one is given; else None."""
        channel = self._channels.get(token)
        return channel if channel is not None and (actor is None or channel.key_id == actor.key_id) else None

    def _forget_unopened(self, token: str) -> None:
        channel = self._channels.get(token)
        if channel is not None and not channel.opened:
            channel.close()


class _Messages(AsyncGenerator[dict[str, Any], None]):
    """A generator that can be closed before it was started, and knows."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def asend(self, _value: None) -> dict[str, Any]:
        return await self._channel.told()

    async def athrow(self, kind: Any, value: Any = None, traceback: Any = None) -> dict[str, Any]:
        self._channel.close()
        raise kind


class _Multiplexed:
    """Events that say which operation they belong to: `next` with a response, `complete` without."""

    transport: Transport = "sse"
    content_type = "text/event-stream"
    opening = quiet = b":\n\n"
    ending = b""

    def framed(self, body: dict[str, Any], place: str | None) -> bytes:
        """One event."""
        name = b"next" if "payload" in body else b"complete"
        return b"event: " + name + b"\ndata: " + encode_json(body) + b"\n\n"


MULTIPLEXED = _Multiplexed()
