"""A store in memory that speaks as much of the driver's language as the stages use; every operation waits for its turn.

A read sees one moment. A write of many documents is many writes, between which anything may happen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import UTC
from typing import Any

import bson
from bson.codec_options import CodecOptions
from pymongo import ReplaceOne, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from .schedule import Schedule

Doc = dict[str, Any]
UNIQUE: Mapping[str, Sequence[tuple[str, ...]]] = {
    "events": (("workspace", "merge"),),
    "passes": (("workspace", "external_id"),),
    "activities": (("workspace", "pos"),),
    "definitions": (("workspace", "rev"),),
    "segments": (("workspace", "key"),),
}
_MISSING = object()
_OPTIONS: CodecOptions[Doc] = CodecOptions(tz_aware=True, tzinfo=UTC)


class Memory:
    """A database: a collection by each name."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._collections: dict[str, Collection] = {}

    def __getitem__(self, name: str) -> Collection:
        return self._collections.setdefault(name, Collection(self._schedule, UNIQUE.get(name, ())))


class Collection:
    """Documents by id."""

    def __init__(self, schedule: Schedule, unique: Sequence[tuple[str, ...]]) -> None:
        self.docs: dict[Any, Doc] = {}
        self._schedule = schedule
        self._unique = unique
        self._taken: set[tuple[Any, ...]] = set()

    def find(self, query: Doc, projection: Doc | None = None, batch_size: int = 0) -> Cursor:
        """What matches when it is read."""
        return Cursor(self._schedule, lambda: [doc for doc in self._candidates(query) if matches(doc, query)])

    async def find_one(
        self, query: Doc, projection: Doc | None = None, sort: Sequence[tuple[str, int]] = ()
    ) -> Doc | None:
        """The first that matches."""
        found = await self.find(query).sort(list(sort)).limit(1).to_list(None)
        return found[0] if found else None

    async def insert_one(self, doc: Doc) -> None:
        """Stores a document. Raises DuplicateKeyError."""
        await self._schedule.write([lambda: self._insert(copied(doc))])

    async def insert_many(self, docs: Sequence[Doc], ordered: bool = True) -> None:
        """Stores documents one after the other. Raises BulkWriteError naming those that were there."""
        failures: list[Doc] = []

        def step(place: int, doc: Doc) -> bool:
            try:
                return self._insert(doc)
            except DuplicateKeyError:
                failures.append({"index": place, "code": 11000})
                return not ordered

        await self._schedule.write([_bound(step, place, copied(doc)) for place, doc in enumerate(docs)])
        if failures:
            raise BulkWriteError({"writeErrors": failures, "writeConcernErrors": []})

    async def update_one(self, query: Doc, change: Doc) -> None:
        """Changes the first that matches."""
        await self._schedule.write([lambda: bool(self._update(query, copied(change), 1)) or True])

    async def update_many(self, query: Doc, change: Doc) -> Matched:
        """Changes all that match, one after the other; how many matched."""
        ids = [doc["_id"] for doc in self._candidates(query)]
        matched: list[int] = []

        def step(id_: Any) -> bool:
            matched.append(self._update({**query, "_id": id_}, change, 1))
            return True

        await self._schedule.write([_bound(step, id_) for id_ in ids])
        return Matched(sum(matched))

    async def delete_one(self, query: Doc) -> None:
        """Forgets the first that matches."""
        await self._schedule.write([lambda: bool(self._delete(query)) or True])

    async def delete_many(self, query: Doc) -> None:
        """Forgets all that match, one after the other."""
        ids = [doc["_id"] for doc in self._candidates(query)]
        await self._schedule.write([_bound(lambda i: bool(self._delete({**query, "_id": i})) or True, i) for i in ids])

    async def bulk_write(self, operations: Sequence[UpdateOne | ReplaceOne[Doc]], ordered: bool = True) -> Matched:
        """Updates and replacements, one after the other; how many matched."""
        matched: list[int] = []

        def step(operation: UpdateOne | ReplaceOne[Doc]) -> bool:
            change = self._replace if isinstance(operation, ReplaceOne) else self._update
            matched.append(change(operation._filter, copied(operation._doc), 1))  # type: ignore[arg-type]
            return True

        await self._schedule.write([_bound(step, operation) for operation in operations])
        return Matched(sum(matched))

    def _candidates(self, query: Mapping[str, Any]) -> Iterable[Doc]:
        key = query.get("_id")
        if isinstance(key, str):
            return [self.docs[key]] if key in self.docs else []
        if isinstance(key, dict) and "$in" in key:
            return [self.docs[i] for i in key["$in"] if i in self.docs]
        return list(self.docs.values())

    def _keys(self, doc: Doc) -> list[tuple[Any, ...]]:
        return [(names, *(doc[name] for name in names)) for names in self._unique if all(name in doc for name in names)]

    def _insert(self, doc: Doc) -> bool:
        keys = self._keys(doc)
        if doc["_id"] in self.docs or not self._taken.isdisjoint(keys):
            raise DuplicateKeyError("taken", 11000)
        self.docs[doc["_id"]] = doc
        self._taken.update(keys)
        return True

    def _delete(self, query: Mapping[str, Any]) -> int:
        found = [doc for doc in self._candidates(query) if matches(doc, query)][:1]
        for doc in found:
            del self.docs[doc["_id"]]
            self._taken.difference_update(self._keys(doc))
        return len(found)

    def _replace(self, query: Mapping[str, Any], new: Doc, most: int) -> int:
        found = [doc for doc in self._candidates(query) if matches(doc, query)][:most]
        for doc in found:
            assert self._keys(doc) == self._keys(new), "the faster embedded server keeps the old unique keys"
            kept = doc["_id"]
            doc.clear()
            doc.update(new, _id=kept)
        return len(found)

    def _update(self, query: Mapping[str, Any], change: Doc, most: int) -> int:
        found = [doc for doc in self._candidates(query) if matches(doc, query)][:most]
        for doc in found:
            changed(doc, change)
        return len(found)


class Matched:
    """The answer to a write of many."""

    def __init__(self, matched_count: int) -> None:
        self.matched_count = matched_count


class Cursor:
    """A query that is read when asked for."""

    def __init__(self, schedule: Schedule, read: Callable[[], list[Doc]]) -> None:
        self._schedule = schedule
        self._read = read
        self._order: Sequence[tuple[str, int]] = ()
        self._limit: int | None = None

    def sort(self, order: str | Sequence[tuple[str, int]], direction: int = 1) -> Cursor:
        """In this order."""
        self._order = [(order, direction)] if isinstance(order, str) else order
        return self

    def limit(self, most: int) -> Cursor:
        """At most so many."""
        self._limit = most
        return self

    async def to_list(self, _: None) -> list[Doc]:
        """All of it, as it is at the reader's turn."""
        await self._schedule.turn()
        docs = self._read()
        for name, direction in reversed(self._order):
            docs.sort(key=lambda doc: doc[name], reverse=direction < 0)
        return [copied(doc) for doc in docs[: self._limit]]

    async def __aiter__(self) -> AsyncIterator[Doc]:
        for doc in await self.to_list(None):
            yield doc


def copied(doc: Doc) -> Doc:
    """The document as it comes back from a store."""
    return bson.decode(bson.encode(doc), _OPTIONS)


def _bound(step: Callable[..., bool], *args: Any) -> Callable[[], bool]:
    return lambda: step(*args)


_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "$in": lambda value, asked: value in asked,
    "$gte": lambda value, asked: value is not _MISSING and value >= asked,
    "$gt": lambda value, asked: value is not _MISSING and value > asked,
    "$lte": lambda value, asked: value is not _MISSING and value <= asked,
    "$lt": lambda value, asked: value is not _MISSING and value < asked,
    "$ne": lambda value, asked: value != asked,
    "$exists": lambda value, asked: (value is not _MISSING) == asked,
}


def _at(doc: Mapping[str, Any], path: str) -> Any:
    """The value at a path of keys."""
    value: Any = doc
    for name in path.split("."):
        value = value.get(name, _MISSING) if isinstance(value, Mapping) else _MISSING
    return value


def matches(doc: Mapping[str, Any], query: Mapping[str, Any]) -> bool:
    """Whether a document matches a query; an operator that is not known here is a KeyError, never a guess."""
    for name, asked in query.items():
        value = _at(doc, name)
        if isinstance(asked, dict):
            if not all(_COMPARISONS[operator](value, operand) for operator, operand in asked.items()):
                return False
        elif value != asked:
            return False
    return True


def changed(doc: Doc, change: Doc) -> None:
    """Applies an update to the document; an operator that is not known here is a KeyError."""
    for operator, parts in change.items():
        apply = _UPDATES[operator]
        for path, operand in parts.items():
            *parents, name = path.split(".")
            place = doc
            for parent in parents:
                place = place.setdefault(parent, {})
            apply(place, name, operand)


def _set(place: Doc, name: str, value: Any) -> None:
    place[name] = value


def _unset(place: Doc, name: str, _: Any) -> None:
    place.pop(name, None)


def _max(place: Doc, name: str, value: Any) -> None:
    place[name] = max(place.get(name, value), value)


def _push(place: Doc, name: str, value: Doc) -> None:
    place.setdefault(name, []).extend(value["$each"])


def _pull(place: Doc, name: str, query: Doc) -> None:
    place[name] = [item for item in place.get(name, []) if not matches(item, query)]


_UPDATES: Mapping[str, Callable[[Doc, str, Any], None]] = {
    "$set": _set, "$unset": _unset, "$max": _max, "$push": _push, "$pull": _pull,
}  # fmt: skip
