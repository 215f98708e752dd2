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


@dataclass(frozen=True)
class Rule:
    """What happens to some commands: `apply` gets the command and a way to send it on, and returns the answer.

    Commands of other names do not reach the rule. Messages that no rule wants pass without being decoded.
    """

    names: frozenset[str]
    apply: Callable[[Command, Forward], Awaitable[Doc]]


def rule(*names: str) -> Callable[[Callable[[Command, Forward], Awaitable[Doc]]], Rule]:
    """Turn a function into a rule for the commands of these names."""
    return lambda apply: Rule(frozenset(names), apply)


def refusal(code: int, name: str, message: str) -> Doc:
    """Return the answer with which a server refuses a command."""
    return {"ok": 0.0, "errmsg": message, "code": code, "codeName": name}


@asynccontextmanager
async def wire_proxy(upstream: int, rules: Sequence[Rule], *, port: int = 0) -> AsyncIterator[int]:
    """Run a proxy before the store on a port of 127.0.0.1 while the block runs, and yield the proxy's port.

    The first rule sees a command first. With `port` 0, any free port is taken. Use `directConnection=true` in the
    address of the proxy: otherwise the driver goes round it, to the address that a replica set gives for itself.

    The proxy and its rules run in a thread with an event loop of its own. The driver blocks the caller's event loop while
    it closes a client, and then still expects an answer.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="wire-proxy", daemon=True)
    thread.start()
    connections = set[asyncio.Task[None]]()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await _serve(reader, writer, upstream, rules)
        finally:
            connections.discard(task)
            writer.close()

    async def stop(server: asyncio.Server) -> None:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def in_thread(work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))

    try:
        server = await in_thread(asyncio.start_server(accept, "127.0.0.1", port))
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            await in_thread(stop(server))
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
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: int, rules: Sequence[Rule]
) -> None:
    """Serve one connection of a client until either side closes it. A connection has one command at a time."""
    store_reader, store_writer = await asyncio.open_connection("127.0.0.1", upstream)

    async def exchange(message: Message) -> Message:
        store_writer.write(message.encode())
        await store_writer.drain()
        return await read_message(store_reader)

    async def send(command: Command, like: Message) -> Doc:
        return decode_reply(await exchange(encode_command(command, like)))

    try:
        while True:
            request = await read_message(reader)
            if request.has_more_to_come:
                store_writer.write(request.encode())
                continue
            name = name_of_command(request)
            forward: Forward = functools.partial(send, like=request)
            wanted = [each for each in rules if name in each.names]
            for each in reversed(wanted):
                forward = functools.partial(_apply, each, forward)
            reply = encode_reply(await forward(decode_command(request)), request) if wanted else await exchange(request)
            writer.write(reply.encode())
            while reply.has_more_to_come:
                reply = await read_message(store_reader)
                writer.write(reply.encode())
                await writer.drain()
            await writer.drain()
    finally:
        store_writer.close()


async def _apply(each: Rule, forward: Forward, command: Command) -> Doc:
    return await each.apply(command, forward)
