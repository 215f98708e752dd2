"""Order of reads on a sharded MongoDB: a read sees what the reads before it in the round have seen.

A round reads a pass, and then which events are pending. On one replica set, the second read is never older than the first.
On a sharded MongoDB, the pass and its events may lie on two shards. If the shard of the events has just elected another
primary, a majority read there may be older than the pass. An event that another fold counted and cleared would then look
pending, and count twice. So each read carries the time of the reads before it, and the shard waits until it knows what was
written by then. MongoDB calls this causal consistency. (Source: docs/decisions/0072-order-reads-of-two-shards.md.)
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

from bson import Timestamp
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorClientSession
from pymongo.client_session import ClientSession

T = TypeVar("T")


class ReadOrder:
    """The times of the newest read of a round, as the shards gave them."""

    def __init__(self) -> None:
        self._operation_time: Timestamp | None = None
        self._cluster_time: Mapping[str, Any] | None = None

    def begin(self, session: AsyncIOMotorClientSession) -> None:
        """Let the reads of a session see at least what the reads before have seen."""
        if self._operation_time is not None:
            session.advance_operation_time(self._operation_time)
        if self._cluster_time is not None:
            session.advance_cluster_time(self._cluster_time)

    def end(self, session: AsyncIOMotorClientSession) -> None:
        """Note the times that the reads of a session have given."""
        seen: ClientSession = session.delegate
        at, cluster = seen.operation_time, seen.cluster_time
        if at is not None and (self._operation_time is None or at > self._operation_time):
            self._operation_time = at
        if cluster is not None and (
            self._cluster_time is None or cluster["clusterTime"] > self._cluster_time["clusterTime"]
        ):
            self._cluster_time = cluster


_current: ContextVar[ReadOrder | None] = ContextVar("_current", default=None)


@contextlib.contextmanager
def reading_in_order() -> Iterator[None]:
    """Order the reads of the block, also those that run at the same time: each begins at what has ended before."""
    token = _current.set(ReadOrder())
    try:
        yield
    finally:
        _current.reset(token)


def current_order() -> ReadOrder | None:
    """Return the order to which a read belongs now; None outside of `reading_in_order`."""
    return _current.get()


async def read_in_order(client: AsyncIOMotorClient[Any], find: Callable[..., Awaitable[T]]) -> T:
    """Return what `find` returns. It takes options of the driver, by which the read belongs to the order of the block."""
    order = current_order()
    if order is None:
        return await find()
    async with await client.start_session(causal_consistency=True) as session:
        order.begin(session)
        found = await find(session=session)
        order.end(session)
        return found


def reads_in_order(client: AsyncIOMotorClient[Any], collection: Any) -> Any:
    """Return a collection whose reads belong to the order of the block in which they run, if there is one."""
    return collection if current_order() is None else _OrderedCollection(client, collection)


class _OrderedCollection:
    """Collection that only reads."""

    def __init__(self, client: AsyncIOMotorClient[Any], collection: Any) -> None:
        self._client, self._collection = client, collection

    def find(self, *args: Any, **options: Any) -> _OrderedCursor:
        """Return the cursor of a query."""
        return _OrderedCursor(self._client, partial(self._collection.find, *args, **options))

    def aggregate(self, *args: Any, **options: Any) -> _OrderedCursor:
        """Return the cursor of an aggregation."""
        return _OrderedCursor(self._client, partial(self._collection.aggregate, *args, **options))


class _OrderedCursor:
    """Read of an ordered collection, which begins with `to_list`."""

    def __init__(self, client: AsyncIOMotorClient[Any], begin: Callable[..., Any]) -> None:
        self._client, self._begin = client, begin
        self._order: Sequence[tuple[str, int]] = ()
        self._limit = 0

    def sort(self, order: Sequence[tuple[str, int]]) -> _OrderedCursor:
        """Sort the documents of a query."""
        self._order = order
        return self

    def limit(self, count: int) -> _OrderedCursor:
        """Return at most `count` documents of a query."""
        self._limit = count
        return self

    async def to_list(self, length: None) -> list[dict[str, Any]]:
        """Return all documents."""

        async def find(**options: Any) -> list[dict[str, Any]]:
            cursor = self._begin(**options)
            cursor = cursor.sort(list(self._order)) if self._order else cursor
            found: list[dict[str, Any]] = await (cursor.limit(self._limit) if self._limit else cursor).to_list(length)
            return found

        return await read_in_order(self._client, find)
