"""Base of all named queries: one workspace each, `$in` in chunks, translation of driver errors."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, TypeVar

from motor.motor_asyncio import AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from .failures import DRIVER_ERRORS, DUPLICATE, failure_log
from .read_order import read_in_order
from .usage import charge_counted

Doc = dict[str, Any]
Database = AsyncIOMotorDatabase[Doc]
Collection = AsyncIOMotorCollection[Doc]
T = TypeVar("T")
EMBEDDED_CHUNK = 100
"""Values in one `$in` on the embedded server, whose cost grows with their square."""
CHUNK = 1_000
"""Values in one `$in` on any other store."""
MAX_SHARD_KEYS = 10_000
"""Combinations of workspaces and ids in one lookup on a sharded MongoDB, whose router computes the shards of each."""
_query: ContextVar[str | None] = ContextVar("_query", default=None)
"""The method of a query class that is running now, the outermost one."""
NO_WORKSPACES: Mapping[str, str] = MappingProxyType({})


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
        query = _query.get() or method.__qualname__
        token = _query.set(query)
        try:
            with translating_errors(query):
                return await method(*args, **kwargs)
        finally:
            _query.reset(token)

    return wrapper


class ErrorTranslating:
    """Base class whose coroutine methods raise Unavailable if the store does not answer. Calls are safe to repeat.

    They raise StoreRefused if the store refuses a command for good. The log names the method that was called first.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()  # the parameters of generic classes
        for name, method in list(vars(cls).items()):
            if inspect.iscoroutinefunction(method):
                setattr(cls, name, _translate_errors(method))


class WorkspaceQueries(ErrorTranslating):
    """Queries of one collection, confined to one workspace: every filter contains it."""

    collection = ""

    def __init__(self, db: Database, workspace_id: str, in_chunk: int, *, is_sharded: bool = False) -> None:
        self._db = db
        self._collection: Collection = db[self.collection]
        self._workspace_id = workspace_id
        self._in_chunk, self._is_sharded = in_chunk, is_sharded

    def _by_id(self, condition: str | Doc) -> Doc:
        """Return a filter by id, which leads a sharded store to the shards of the workspace.

        With the workspace in the filter, the embedded server reads the whole workspace. So the caller drops what belongs
        to other workspaces.
        """
        return self._in_workspace(_id=condition) if self._is_sharded else {"_id": condition}

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
            # The batch size makes MongoDB answer once; its first batch has 101 documents by default.
            where = self._by_id({"$in": list(chunk)})
            docs = await self._collection.find(where, projection, batch_size=len(chunk) + 1).to_list(None)
            return [doc for doc in docs if doc["workspace"] == self._workspace_id]

        return await in_chunks(find_chunk, wanted, self._in_chunk)


class StageQueries(ErrorTranslating):
    """Queries across workspaces. On a sharded MongoDB, filters by id also name the workspace, so that one shard is asked."""

    def __init__(self, db: Database, in_chunk: int, *, is_sharded: bool = False) -> None:
        self._db = db
        self._in_chunk, self._is_sharded = in_chunk, is_sharded

    def _by_id(self, doc_id: str, workspace_id: str | None, **conditions: Any) -> Doc:
        """Return a filter that finds one document. Without the workspace, a sharded store asks every shard."""
        if self._is_sharded and workspace_id is not None:
            return {"_id": doc_id, "workspace": workspace_id, **conditions}
        return {"_id": doc_id, **conditions}

    async def _find_by_ids(
        self, collection: Collection, ids: Iterable[str], workspace_ids: Mapping[str, str], fields: Doc | None = None
    ) -> list[Doc]:
        """Return the documents of these ids. `workspace_ids` has the workspace of each, by id. Index: _id."""

        def find(where: Doc, size: int) -> Coroutine[Any, Any, list[Doc]]:
            # The batch size makes MongoDB answer once. Its first batch has 101 documents by default.
            return self._read_docs(collection, where, fields, batch_size=size + 1)

        wanted = list(ids)
        if self._is_sharded and all(each in workspace_ids for each in wanted):
            groups = group_by_workspace({each: workspace_ids[each] for each in wanted}, self._in_chunk)
            found = await asyncio.gather(
                *(
                    find({"_id": {"$in": group}, "workspace": {"$in": workspaces}}, len(group))
                    for workspaces, group in groups
                )
            )
            return [doc for docs in found for doc in docs]
        return await in_chunks(lambda chunk: find({"_id": {"$in": list(chunk)}}, len(chunk)), wanted, self._in_chunk)

    async def _read_docs(
        self,
        collection: Collection,
        where: Doc,
        fields: Doc | None = None,
        *,
        sort: Sequence[tuple[str, int]] = (),
        limit: int = 0,
        batch_size: int = 0,
    ) -> list[Doc]:
        """Return the documents that a filter finds. The read belongs to the order of the round, if there is one."""

        # A batch has 101 documents otherwise, and the rest takes a second round trip.
        size = batch_size or (limit + 1 if limit else 0)

        async def find(**options: Any) -> list[Doc]:
            cursor = collection.find(where, fields, batch_size=size, **options)
            cursor = cursor.sort(list(sort)) if sort else cursor
            return await (cursor.limit(limit) if limit else cursor).to_list(None)

        return await read_in_order(self._db.client, find)

    async def _aggregate(self, collection: Collection, stages: Sequence[Doc]) -> list[Doc]:
        """Return the documents that an aggregation gives. The read belongs to the order of the round, if there is one."""

        async def aggregate(**options: Any) -> list[Doc]:
            docs: list[Doc] = await collection.aggregate(list(stages), **options).to_list(None)
            return docs

        return await read_in_order(self._db.client, aggregate)


def group_by_workspace(workspace_ids: Mapping[str, str], size: int) -> list[tuple[list[str], list[str]]]:
    """Return groups of (workspaces, ids), each with up to `size` ids and `MAX_SHARD_KEYS` combinations of the two."""
    groups: list[tuple[list[str], list[str]]] = []
    for doc_id, workspace_id in sorted(workspace_ids.items(), key=lambda item: item[1]):
        if groups:
            workspaces, ids = groups[-1]
            number = len(workspaces) + (workspaces[-1] != workspace_id)
            if len(ids) < size and number * (len(ids) + 1) <= MAX_SHARD_KEYS:
                workspaces += [workspace_id] if workspaces[-1] != workspace_id else []
                ids.append(doc_id)
                continue
        groups.append(([workspace_id], [doc_id]))
    return groups


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
    collection: Collection,
    ids: Sequence[str],
    change: Doc,
    *,
    where: Mapping[str, Any],
    in_chunk: int,
    workspace_ids: Mapping[str, str] | None = None,
) -> None:
    """Make the same change to each document of the ids that also meets `where`. Safe to repeat. Index: _id.

    With `workspace_ids`, by id, the store is sharded and gets an update for each document. An update of many documents may
    be applied 0, 1 or 2 times while some of them move to another shard. Its answer does not tell. On the embedded server,
    one update of many documents takes three fifths of the CPU time.
    """

    async def update_chunk(chunk: Sequence[str]) -> None:
        if workspace_ids is not None:
            updates = [UpdateOne({"_id": each, "workspace": workspace_ids[each], **where}, change) for each in chunk]
            await collection.bulk_write(updates, ordered=False)
        else:
            await collection.update_many({"_id": {"$in": list(chunk)}, **where}, change)

    await asyncio.gather(*(update_chunk(ids[i : i + in_chunk]) for i in range(0, len(ids), in_chunk)))


def match_by_index(indexed: Doc) -> list[Doc]:
    """Return the stages of an aggregation that match conditions on the fields of an index, in its order.

    What follows a list of values is a stage of its own. With both in one stage, the embedded servers read all documents of
    the workspace. For 20,000 events, SecantusDB 0.7.0b3 took 1.4 s. Its Rust server took more than a minute for ten million.
    MongoDB merges the two stages.
    """
    names = list(indexed)
    lists = (
        number for number, name in enumerate(names, 1) if isinstance(indexed[name], dict) and "$in" in indexed[name]
    )
    end = next(lists, len(names))
    return [{"$match": {name: indexed[name] for name in part}} for part in (names[:end], names[end:]) if part]


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
