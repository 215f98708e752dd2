"""The proxy: it forwards each command to a store, through rules that may change, refuse, repeat or count it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC
from typing import Any, TypeVar
from urllib.parse import urlsplit

from motor.motor_asyncio import AsyncIOMotorClient

from app.config.settings import Settings
from app.store.mongo.queries import Database
from tests.wire.framing import (
    OP_MSG,
    Command,
    Doc,
    Message,
    decode_command,
    decode_reply,
    encode_command,
    encode_reply,
    name_of_command,
    read_message,
)

T = TypeVar("T")
Forward = Callable[[Command], Awaitable[Doc]]
"""Sends a command on, and returns the answer. A rule may call it never, once or several times."""


class CloseConnection(Exception):
    """Raised by a rule to close the connection of the client in place of an answer."""


@dataclass(frozen=True)
class Rule:
    """What happens to some commands: `apply` gets the command and a way to send it on, and returns the answer.

    Commands of other names do not reach the rule; with None, all commands do, except the first one of a connection that
    an old driver sends as OP_QUERY. Messages that no rule wants pass without being decoded.
    """

    names: frozenset[str] | None
    apply: Callable[[Command, Forward], Awaitable[Doc]]

    def wants(self, message: Message) -> bool:
        """Return whether the rule applies to a command."""
        if self.names is None:
            return message.opcode == OP_MSG
        return name_of_command(message) in self.names


def rule(*names: str) -> Callable[[Callable[[Command, Forward], Awaitable[Doc]]], Rule]:
    """Turn a function into a rule for the commands of these names."""
    return lambda apply: Rule(frozenset(names), apply)


def refusal(code: int, name: str, message: str) -> Doc:
    """Return the answer with which a server refuses a command."""
    return {"ok": 0.0, "errmsg": message, "code": code, "codeName": name}


class Listener:
    """A proxy that listens on a port of 127.0.0.1, in the event loop that starts it.

    The first rule sees a command first. Use `directConnection=true` in the address of the proxy: otherwise the driver goes
    round it, to the address that a replica set gives for itself.
    """

    def __init__(self, upstream: tuple[str, int], rules: Sequence[Rule]) -> None:
        self.port = 0
        self.is_reachable = True
        """While false, the proxy closes every new connection at once: the store is away."""
        self._upstream = upstream
        self._rules = rules
        self._connections = set[asyncio.Task[None]]()

    async def start(self, port: int = 0) -> None:
        """Listen on the port, or on any free one."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and all connections."""
        self._server.close()
        self.disconnect()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def disconnect(self) -> None:
        """Close all connections, as a primary that steps down does, but not that of the caller, if a rule calls."""
        for task in self._connections - {asyncio.current_task()}:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if self.is_reachable:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError, CloseConnection, asyncio.CancelledError):
                    await _serve(reader, writer, self._upstream, self._rules)
        finally:
            self._connections.discard(task)
            writer.close()


@asynccontextmanager
async def wire_proxy(upstream: int, rules: Sequence[Rule], *, port: int = 0) -> AsyncIterator[int]:
    """Run a proxy before the store on a port of 127.0.0.1 while the block runs, and yield the proxy's port.

    With `port` 0, any free port is taken. The proxy and its rules run in a thread with an event loop of its own. The driver
    blocks the caller's event loop while it closes a client, and then still expects an answer.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="wire-proxy", daemon=True)
    thread.start()

    async def in_thread(work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))

    listener = Listener(("127.0.0.1", upstream), rules)
    try:
        await in_thread(listener.start(port))
        try:
            yield listener.port
        finally:
            await in_thread(listener.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        await asyncio.to_thread(thread.join)
        loop.close()


@asynccontextmanager
async def through(rules: Sequence[Rule], settings: Settings) -> AsyncIterator[Database]:
    """Open the database of the settings through a proxy with these rules, with the options of the product."""
    upstream = urlsplit(settings.mongodb_uri or "").port
    assert upstream is not None
    async with wire_proxy(upstream, rules) as port:
        client: AsyncIOMotorClient[Doc] = AsyncIOMotorClient(
            f"mongodb://127.0.0.1:{port}/?directConnection=true",
            tz_aware=True,
            tzinfo=UTC,
            w="majority",
            readConcernLevel="majority",
            retryWrites=False,
        )
        yield client[settings.database]
        client.close()


async def _serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: tuple[str, int], rules: Sequence[Rule]
) -> None:
    """Serve one connection of a client until either side closes it. A connection has one command at a time."""
    store_reader, store_writer = await asyncio.open_connection(*upstream)
    replies = asyncio.Queue[Message | None]()
    receiving = asyncio.create_task(_receive(store_reader, replies, writer))

    async def receive() -> Message:
        reply = await replies.get()
        if reply is None:
            raise CloseConnection
        return reply

    async def exchange(message: Message) -> Message:
        store_writer.write(message.encode())
        await store_writer.drain()
        return await receive()

    async def send(command: Command, like: Message) -> Doc:
        return decode_reply(await exchange(encode_command(command, like)))

    try:
        while True:
            request = await read_message(reader)
            if request.has_more_to_come:
                store_writer.write(request.encode())
                continue
            forward: Forward = functools.partial(send, like=request)
            wanted = [each for each in rules if each.wants(request)]
            for each in reversed(wanted):
                forward = functools.partial(_apply, each, forward)
            reply = encode_reply(await forward(decode_command(request)), request) if wanted else await exchange(request)
            writer.write(reply.encode())
            while reply.has_more_to_come:
                reply = await receive()
                writer.write(reply.encode())
                await writer.drain()
            await writer.drain()
    finally:
        receiving.cancel()
        store_writer.close()


async def _receive(
    store_reader: asyncio.StreamReader, replies: asyncio.Queue[Message | None], writer: asyncio.StreamWriter
) -> None:
    """Put the messages of the store into the queue. When the store closes the connection, close that of the client."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            replies.put_nowait(await read_message(store_reader))
    replies.put_nowait(None)
    writer.close()


async def _apply(each: Rule, forward: Forward, command: Command) -> Doc:
    return await each.apply(command, forward)
