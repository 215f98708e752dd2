"""Base of all named queries: one workspace each, `$in` in chunks, translation of driver errors."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from motor.motor_asyncio import AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from .failures import DRIVER_ERRORS, DUPLICATE, failure_log
from .usage import charge_counted

Doc = dict[str, Any]
Database = AsyncIOMotorDatabase[Doc]
Collection = AsyncIOMotorCollection[Doc]
T = TypeVar("T")
EMBEDDED_CHUNK = 100
"""Values in one `$in` on the embedded server, whose cost grows with their square."""
CHUNK = 1_000
"""Values in one `$in` on any other store."""


def may_be_sharded(in_chunk: int) -> bool:
    """Return whether the store that takes lists of this length may be a sharded MongoDB. The embedded server is not.

    Each update then has to name one document. An update of many documents may be applied 0, 1 or 2 times while a chunk of
    them moves to another shard. Its answer does not tell.
    """
    return in_chunk > EMBEDDED_CHUNK


@contextmanager
def translating_errors(query: str = "-", *, logs: bool = True) -> Iterator[None]:
    """Raise Unavailable or StoreRefused instead of errors of the driver, and log them. `query` names the method.

    Without `logs`, the caller shows the error.
    Queries that expect duplicate keys catch those errors themselves.
    """
    try:
        yield
    except DRIVER_ERRORS as error:
        # Without the driver's error, which quotes values of documents, a traceback can be logged.
        raise failure_log.translate(error, query, logs=logs) from None


def _translate_errors(method: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., Coroutine[Any, Any, T]]:
    @functools.wraps(method)
    async def wrapper(*args: Any, **kwargs: Any) -> T:
        with translating_errors(method.__qualname__):
            return await method(*args, **kwargs)

    return wrapper


class ErrorTranslating:
    """Base class whose coroutine methods raise Unavailable if the store does not answer. Calls are safe to repeat.

    They raise StoreRefused if the store refuses a command for good.
    """

    def __init_subclass__(cls) -> None:
        for name, method in list(vars(cls).items()):
            if inspect.iscoroutinefunction(method):
                setattr(cls, name, _translate_errors(method))


class WorkspaceQueries(ErrorTranslating):
    """Queries of one collection, confined to one workspace: every filter contains it."""

    collection = ""
    has_workspace_as_shard_key = False
    """Whether a sharded MongoDB divides the collection by workspace. Then lookups by id name the workspace, too."""

    def __init__(self, db: Database, workspace_id: str, in_chunk: int) -> None:
        self._collection: Collection = db[self.collection]
        self._workspace_id = workspace_id
        self._in_chunk = in_chunk

    def _in_workspace(self, **conditions: Any) -> Doc:
        """Return a filter, or the fields of a new document, with the workspace added."""
        return {"workspace": self._workspace_id, **conditions}

    async def _count(self, **conditions: Any) -> int:
        """Return the number of documents of this workspace that meet the conditions, which an index covers."""
        count = await self._collection.count_documents(self._in_workspace(**conditions))
        charge_counted(count)
        return count

    async def _by_ids(self, ids: Iterable[str], projection: Doc | None = None) -> list[Doc]:
        """Return the documents of this workspace among the ids, in no order. Index: _id."""
        wanted = list(dict.fromkeys(ids))
        if projection is not None and all(projection.values()):
            projection = {**projection, "workspace": 1}

        async def find_chunk(chunk: Sequence[str]) -> list[Doc]:
            # With the workspace in the filter, the embedded server reads the whole workspace. So documents of other
            # workspaces are dropped here. The batch size makes MongoDB answer once; its first batch has 101 documents
            # by default.
            where: Doc = {"_id": {"$in": chunk}}
            if self.has_workspace_as_shard_key and may_be_sharded(self._in_chunk):
                where["workspace"] = self._workspace_id
            docs = await self._collection.find(where, projection, batch_size=len(chunk) + 1).to_list(None)
            return [doc for doc in docs if doc["workspace"] == self._workspace_id]

        return await in_chunks(find_chunk, wanted, self._in_chunk)


async def insert_new(collection: Collection, docs: Sequence[Doc], *, ordered: bool = False) -> set[int]:
    """Insert documents and return the indexes of those whose id or unique key already exists.

    Raises any other failure. Use it for a single document, too: `insert_one` hides a failure of the write concern behind
    a duplicate key, and the other document may then be rolled back.
    """
    if not docs:
        return set()
    try:
        await collection.insert_many(docs, ordered=ordered)
    except BulkWriteError as error:
        failures = error.details["writeErrors"]
        if any(failure["code"] != DUPLICATE for failure in failures) or error.details["writeConcernErrors"]:
            raise
        return {failure["index"] for failure in failures}
    return set()


def equal_to(value: str | int) -> Doc:
    """Return the condition that a field beside _id has this value, for a filter that finds one document by _id.

    With a plain value, the embedded server compares each field of the filter with all indexes before it looks up the
    id. An update then takes it 2.7 ms of CPU time instead of 1.9.
    """
    return {"$all": [value]}


async def update_by_ids(
    collection: Collection, ids: Sequence[str], change: Doc, *, where: Mapping[str, Any], in_chunk: int
) -> None:
    """Make the same change to each document of the ids that also meets `where`. Safe to repeat. Index: _id.

    A sharded store gets an update for each document. On the embedded server, one update of many documents takes three
    fifths of the CPU time.
    """

    async def update_chunk(chunk: Sequence[str]) -> None:
        if may_be_sharded(in_chunk):
            updates = [UpdateOne({"_id": each, **where}, change) for each in chunk]
            await collection.bulk_write(updates, ordered=False)
        else:
            await collection.update_many({"_id": {"$in": list(chunk)}, **where}, change)

    await asyncio.gather(*(update_chunk(ids[i : i + in_chunk]) for i in range(0, len(ids), in_chunk)))


async def in_chunks(
    ask: Callable[[Sequence[Any]], Coroutine[Any, Any, list[Doc]]], values: Sequence[Any], size: int
) -> list[Doc]:
    """Return all documents that `ask` finds for `values`, cut into chunks of `size`.

    The chunks are asked for concurrently. On the embedded server the cost of `$in` grows with the square of its size.
    """
    if len(values) <= size:
        return await ask(values) if values else []
    answers = await asyncio.gather(*(ask(values[i : i + size]) for i in range(0, len(values), size)))
    return [doc for answer in answers for doc in answer]
