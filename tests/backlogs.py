"""Backlogs of passes that are written straight to the store, and a count of what the reads of a backlog examine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from app.clock import system_ms
from app.domain.activities import CREATED, Entry
from app.domain.passes.passes import Pass, Profile
from app.domain.values.instants import to_ms
from app.store.codecs.passes import to_doc
from app.store.mongo.ids import new_id
from app.store.mongo.queries import Collection, Doc

from .business import Business

INSERT_BATCH_SIZE = 500


async def insert_passes(
    business: Business, count: int, *, unpublished: bool = False, due_ms: Sequence[int] = ()
) -> list[str]:
    """Store passes without events, evaluated until now under revision 0, and return their ids.

    Outboxes have waited since instants 2 ms apart, the first pass the longest. Pass number i is due at `due_ms[i]`, and
    the list is repeated if it is shorter.
    """
    now = await business.clock.now()
    now_ms, first_ms = to_ms(now), system_ms() - 2 * count
    created = Entry(number=1, type=CREATED, at_ms=now_ms, recorded_ms=now_ms)
    template = Pass(
        id="", workspace_id=business.ctx.workspace.id, external_id="", initial_profile=Profile(), profile=Profile(),
        installed_at=None, created_at=now, updated_at=now, evaluated_until_ms=now_ms - 1, revision=0, last_activity=1,
        next_due_ms=None, outbox=(created,) if unpublished else (),
    )  # fmt: skip
    docs = []
    for number in range(count):
        next_due_ms = due_ms[number % len(due_ms)] if due_ms else None
        pass_id = new_id("pass")
        card = replace(template, id=pass_id, external_id=pass_id, next_due_ms=next_due_ms)
        docs.append(to_doc(card, first_ms + 2 * number))
    for start in range(0, count, INSERT_BATCH_SIZE):
        await business.ctx.resources.db["passes"].insert_many(docs[start : start + INSERT_BATCH_SIZE])
    return [doc["_id"] for doc in docs]


class ExaminedCollection:
    """Collection that counts what each read examines on the embedded server: all that matches, whatever the limit is.

    An aggregation examines what its first stage matches. Reads by id are not counted.
    """

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self.examined: list[int] = []

    def find(self, query: Doc, *args: Any, **options: Any) -> Any:
        """Return a cursor that counts the documents of the query before it reads them."""
        return _ExaminedCursor(self, self._collection.find(query, *args, **options), query)

    def aggregate(self, stages: Sequence[Doc], **options: Any) -> Any:
        """Return a cursor that counts the documents of the first stage before it reads them."""
        return _ExaminedCursor(self, self._collection.aggregate(stages, **options), stages[0]["$match"])

    async def find_one(self, query: Doc, *args: Any, **options: Any) -> Any:
        """Count the documents of the query, and return the first one that it finds."""
        await self.count(query)
        return await self._collection.find_one(query, *args, **options)

    async def count(self, query: Doc) -> None:
        """Count the documents of a query."""
        if "_id" in query:
            return
        self.examined.append(await self._collection.count_documents(query))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)


class OtherBulkWrite:
    """A collection with another `bulk_write`."""

    def __init__(self, collection: Collection, bulk_write: Any) -> None:
        self._collection, self.bulk_write = collection, bulk_write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)


class _ExaminedCursor:
    def __init__(self, owner: ExaminedCollection, cursor: Any, query: Doc) -> None:
        self._owner, self._cursor, self._query = owner, cursor, query

    def sort(self, *order: Any) -> _ExaminedCursor:
        self._cursor = self._cursor.sort(*order)
        return self

    def limit(self, count: int) -> _ExaminedCursor:
        self._cursor = self._cursor.limit(count)
        return self

    async def to_list(self, length: None) -> list[Doc]:
        await self._owner.count(self._query)
        docs: list[Doc] = await self._cursor.to_list(length)
        return docs
