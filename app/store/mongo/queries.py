"""What all named queries share: the workspace they cannot leave, chunked `$in`, one translation of driver errors."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from motor.motor_asyncio import AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo.errors import BulkWriteError, PyMongoError

from app.domain.errors import Unavailable

Doc = dict[str, Any]
Database = AsyncIOMotorDatabase[Doc]
Collection = AsyncIOMotorCollection[Doc]
T = TypeVar("T")
DUPLICATE = 11000


@contextmanager
def translating_errors() -> Iterator[None]:
    """Turns what the driver raises into Unavailable("store"). Queries that expect duplicate keys catch those themselves."""
    try:
        yield
    except PyMongoError as error:
        raise Unavailable("store") from error


def _translating(method: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., Coroutine[Any, Any, T]]:
    @functools.wraps(method)
    async def wrapper(*args: Any, **kwargs: Any) -> T:
        with translating_errors():
            return await method(*args, **kwargs)

    return wrapper


class ErrorTranslating:
    """Every coroutine method of a subclass raises Unavailable where the store did not answer; safe to repeat."""

    def __init_subclass__(cls) -> None:
        for name, method in list(vars(cls).items()):
            if inspect.iscoroutinefunction(method):
                setattr(cls, name, _translating(method))


class WorkspaceQueries(ErrorTranslating):
    """Queries of one collection that all begin with the workspace; there is no way to leave it out."""

    collection = ""

    def __init__(self, db: Database, workspace_id: str, in_chunk: int) -> None:
        self._all: Collection = db[self.collection]
        self._workspace_id = workspace_id
        self._in_chunk = in_chunk

    def _mine(self, **conditions: Any) -> Doc:
        return {"workspace": self._workspace_id, **conditions}

    async def _by_ids(self, ids: Iterable[str], projection: Doc | None = None) -> list[Doc]:
        """The documents of this workspace among the ids, in no order. Index: _id."""
        wanted = list(dict.fromkeys(ids))
        if projection is not None and all(projection.values()):
            projection = {**projection, "workspace": 1}

        async def some(chunk: Sequence[str]) -> list[Doc]:
            # Asked with the workspace as well, the embedded server reads the whole workspace; so others' are dropped here.
            # In one answer: by default MongoDB sends 101 documents, and waits to be asked for the others.
            docs = await self._all.find({"_id": {"$in": chunk}}, projection, batch_size=len(chunk) + 1).to_list(None)
            return [doc for doc in docs if doc["workspace"] == self._workspace_id]

        return await in_chunks(some, wanted, self._in_chunk)


async def insert_new(collection: Collection, docs: Sequence[Doc], *, ordered: bool = False) -> set[int]:
    """Inserts documents; the positions of those whose id or unique key was taken. Any other failure is raised."""
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


async def in_chunks(
    ask: Callable[[Sequence[Any]], Coroutine[Any, Any, list[Doc]]], values: Sequence[Any], size: int
) -> list[Doc]:
    """All answers of `ask` over `values` cut to `size`, asked side by side: the embedded server's `$in` is quadratic."""
    if len(values) <= size:
        return await ask(values) if values else []
    answers = await asyncio.gather(*(ask(values[i : i + size]) for i in range(0, len(values), size)))
    return [doc for answer in answers for doc in answer]
