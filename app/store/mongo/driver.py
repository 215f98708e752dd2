"""Clients of the store: the driver's calls run in threads of ours, within the usage of the operation that makes them.

motor runs every call in one pool of ten threads. One query with a hundred fields took them all, so that the keys of all
other clients waited. So there are two kinds of clients here:

- the client of `open_client`, whose calls run within the `StoreUsage` of the operation, if there is one;
- with `essential`, a client with threads and connections of its own. It reads keys and answers health checks.
"""

from __future__ import annotations

import contextvars
import functools
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, cast

import pymongo
from motor import core
from motor.frameworks import asyncio as motor_asyncio
from motor.metaprogramming import create_class_with_framework
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorDatabase
from pymongo import MongoClient
from pymongo.collection import Collection as SyncCollection
from pymongo.command_cursor import CommandCursor
from pymongo.cursor import Cursor
from pymongo.synchronous.pool import Connection, Pool

from .failures import DRIVER_ERRORS, note_call
from .shares import Call
from .usage import current_usage

OPERATION_THREADS = 80
"""Threads for the calls of all operations of a process: enough for six workspaces with as many calls as they may run."""
ESSENTIAL_THREADS = 16
"""Threads that read keys, answer health checks and report workers as alive."""

_READS: frozenset[Callable[..., Any]] = frozenset(
    {
        Cursor._refresh,
        CommandCursor._refresh,
        SyncCollection.aggregate,
        SyncCollection.count_documents,
        SyncCollection.distinct,
        SyncCollection.estimated_document_count,
        SyncCollection.find_one,
    }
)
"""Methods of the driver that only read. A write is never cut off: the protocol would not know whether it was applied."""


@contextmanager
def limit_calls(seconds: float) -> Iterator[None]:
    """Limit the calls of the block to so many seconds together, with the search for a primary.

    A call that takes longer raises an error of the driver. Use it only for writes that may happen or not.
    """
    with pymongo.timeout(seconds):
        yield


def last_election(db: AsyncIOMotorDatabase[Any]) -> object:
    """Return a value that differs after each election of a primary of which the driver has learned; no call.

    The driver learns of the election before it sends the first command to the new primary. The value is always None behind
    a router and with a server that is no replica set.
    """
    return cast("MongoClient[Any]", db.client.delegate).topology_description.max_election_id


class _MeasuredPool(Pool):
    """Pool of connections that report the size of each answer to the usage of the operation."""

    def connect(self, *args: Any, **kwargs: Any) -> Connection:
        """Open a connection."""
        connection = super().connect(*args, **kwargs)
        connection.receive_message = functools.partial(_receive, connection.receive_message)  # type: ignore[method-assign]
        return connection


def _receive(receive: Callable[[int | None], Any], request_id: int | None) -> Any:
    message = receive(request_id)
    usage = current_usage()
    if usage is not None:
        usage.count_bytes(len(message.payload_document))
    return message


def _call(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a method of the driver. An error of the driver gets a note of the command and the collection."""
    try:
        return method(*args, **kwargs)
    except DRIVER_ERRORS as error:
        note_call(error, getattr(method, "__name__", "-"), args)
        raise


def _call_in_time(seconds: float, call: Callable[[], Any]) -> Any:
    """Run a call that reads. The driver sends the time that is left (maxTimeMS), so a read ends in the store, too."""
    with pymongo.timeout(seconds):
        return call()


class _Framework:
    """motor's interface to asyncio, with threads of ours. motor asks it to run every call of the driver."""

    def __init__(self, name: str, own_threads: int, *, operation_threads: int, read_seconds: float | None) -> None:
        self._read_seconds = read_seconds
        self._own = ThreadPoolExecutor(own_threads, f"store-{name}")
        self._operations = ThreadPoolExecutor(operation_threads, "store-operation") if operation_threads else None

    def __getattr__(self, name: str) -> Any:
        return getattr(motor_asyncio, name)

    def run_on_executor(self, loop: AbstractEventLoop, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a method of the driver in a thread, and return the future of its result."""
        usage, context = current_usage(), contextvars.copy_context()
        named = functools.partial(_call, method, *args, **kwargs)
        if usage is None or self._operations is None:
            if self._read_seconds is not None and method in _READS:
                named = functools.partial(_call_in_time, self._read_seconds, named)
            return loop.run_in_executor(self._own, context.run, named)
        future: Future[Any] = loop.create_future()
        call = Call(
            loop=loop,
            executor=self._operations,
            run=named,
            is_read=method in _READS,
            context=context,
            future=future,
        )
        return usage.submit(call)


@functools.cache
def _client_class(essential: bool, threads: int, read_seconds: float | None) -> Callable[..., Any]:
    """Return the class of the clients that share these threads. A thread starts when a call needs it."""
    name, operation_threads = ("essential", 0) if essential else ("own", OPERATION_THREADS)
    framework = _Framework(name, threads, operation_threads=operation_threads, read_seconds=read_seconds)
    return cast(Callable[..., Any], create_class_with_framework(core.AgnosticClient, framework, __name__))


def open_client(
    uri: str | None, *, threads: int, essential: bool = False, read_seconds: float | None = None, **options: Any
) -> AsyncIOMotorClient[dict[str, Any]]:
    """Return a client, which connects on first use, with the options of `AsyncIOMotorClient`.

    `threads` are for the calls outside of operations. The library motor has five for each processor of the host. These are
    too few where a majority write takes long, and too many in a small container on a large host. A read outside of
    operations takes at most `read_seconds`, in the store too; a read of an operation ends with the operation. Raises
    ConfigurationError, OSError, or ValueError, if the address cannot be read.
    """
    client = _client_class(essential, threads, read_seconds)(uri, _pool_class=_MeasuredPool, **options)
    return cast("AsyncIOMotorClient[dict[str, Any]]", client)
