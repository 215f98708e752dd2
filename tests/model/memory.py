"""A store in memory with the part of the driver's interface that the stages use; every operation waits for its turn.

A read sees one moment. A write of many documents is many single writes, and other operations may come between them.

Reads within `MemoryDatabase.lagging` begin at an earlier state of the store, as majority reads do after an election: the
new primary may not know yet what a majority has acknowledged.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC
from types import SimpleNamespace
from typing import Any

import bson
from bson.codec_options import CodecOptions
from pymongo import ReplaceOne, UpdateOne
from pymongo.errors import AutoReconnect, BulkWriteError, DuplicateKeyError

from .pipelines import run_stages
from .schedule import Schedule

Doc = dict[str, Any]
UNIQUE: Mapping[str, Sequence[tuple[str, ...]]] = {
    "activities": (("workspace", "pos"),),
    "definitions": (("workspace", "rev"),),
    "segments": (("workspace", "key"),),
    "rules": (("workspace", "key"),),
}
_MISSING = object()
_OPTIONS: CodecOptions[Doc] = CodecOptions(tz_aware=True, tzinfo=UTC)


CatchUp = Callable[[int, int], int]
"""A function of the state that the last read saw and of the newest state: it returns the state that the next read sees."""


class History:
    """The single writes of a store, so that a read can see an earlier state. A state is the number of writes before it."""

    def __init__(self, *, is_kept: bool) -> None:
        self.is_kept = is_kept
        self._before: list[tuple[Collection, Any, Doc | None]] = []

    @property
    def newest(self) -> int:
        """The state after all writes."""
        return len(self._before)

    def note(self, collection: Collection, doc_id: Any) -> None:
        """Note the document as it is before a write."""
        if self.is_kept:
            doc = collection.docs.get(doc_id)
            self._before.append((collection, doc_id, None if doc is None else copy(doc)))

    def docs_at(self, collection: Collection, state: int) -> dict[Any, Doc]:
        """Return the documents of the collection in a state."""
        docs = dict(collection.docs)
        for written, doc_id, doc in reversed(self._before[state:]):
            if written is collection:
                docs.pop(doc_id, None)
                if doc is not None:
                    docs[doc_id] = doc
        return docs


class _LaggingReads:
    """Reads that begin at an earlier state. They never go back, as the reads from one member never do."""

    def __init__(self, state: int, catch_up: CatchUp) -> None:
        self._state: int | None = state
        self._catch_up = catch_up

    def next_state(self, newest: int) -> int | None:
        """Return the state that the next read sees, or None for the newest from then on."""
        state = self._state
        if state is not None:
            self._state = next_state if (next_state := self._catch_up(state, newest)) < newest else None
        return state


_lagging: ContextVar[_LaggingReads | None] = ContextVar("lagging", default=None)


class MemoryDatabase:
    """A database that creates each collection at its first use. With `keeps_history`, reads can lag."""

    def __init__(self, schedule: Schedule, *, keeps_history: bool = False) -> None:
        self.history = History(is_kept=keeps_history)
        self._schedule = schedule
        self._collections: dict[str, Collection] = {}
        self._topology = SimpleNamespace(max_election_id=0)
        self.client = SimpleNamespace(delegate=SimpleNamespace(topology_description=self._topology))
        """What the driver tells of the last election."""

    def elect(self, state: int) -> None:
        """Elect a primary whose first read shows an earlier state to the process of the caller."""
        self._topology.max_election_id += 1
        _lagging.set(_LaggingReads(state, lambda _, newest: newest))

    def __getitem__(self, name: str) -> Collection:
        return self._collections.setdefault(name, Collection(self._schedule, UNIQUE.get(name, ()), self.history))

    @contextlib.contextmanager
    def lagging(self, state: int, catch_up: CatchUp = lambda _, newest: newest) -> Iterator[None]:
        """Let the first read of the block see an earlier state, and each later read the state that `catch_up` returns.

        Writes change the newest state, as those of a new primary do.
        """
        token = _lagging.set(_LaggingReads(state, catch_up))
        try:
            yield
        finally:
            _lagging.reset(token)


class Collection:
    """The documents of one collection, by id."""

    def __init__(self, schedule: Schedule, unique: Sequence[tuple[str, ...]], history: History) -> None:
        self.docs: dict[Any, Doc] = {}
        self._schedule = schedule
        self._history = history
        self._unique = unique
        self._unique_keys: set[tuple[Any, ...]] = set()
        self._run_before_failure: int | None = None

    def find(
        self, query: Doc, projection: Doc | None = None, *, limit: int | None = None, batch_size: int = 0
    ) -> Cursor:
        """Return a cursor over the documents that match when it is read."""
        return Cursor(self._schedule, lambda: self._read(query)).limit(limit)

    def aggregate(self, stages: Sequence[Doc], batchSize: int = 0) -> Cursor:
        """Return a cursor over what the stages make of the documents, as they are when it is read."""
        first, *others = stages if "$match" in stages[0] else ({"$match": {}}, *stages)
        return Cursor(self._schedule, lambda: run_stages(self._read(first["$match"]), others, select))

    async def find_one(
        self, query: Doc, projection: Doc | None = None, sort: Sequence[tuple[str, int]] = ()
    ) -> Doc | None:
        """Return the first document that matches, or None."""
        found = await self.find(query).sort(list(sort)).limit(1).to_list(None)
        return found[0] if found else None

    async def count_documents(self, query: Doc) -> int:
        """Return the number of documents that match."""
        return len(await self.find(query).to_list(None))

    async def insert_one(self, doc: Doc) -> None:
        """Insert a document. Raises DuplicateKeyError."""
        await self._schedule.write([lambda: self._insert(copy(doc))])

    async def insert_many(self, docs: Sequence[Doc], ordered: bool = True) -> None:
        """Insert documents one after the other. Raises BulkWriteError with the indexes of those that exist already."""
        failures: list[Doc] = []

        def step(index: int, doc: Doc) -> bool:
            try:
                return self._insert(doc)
            except DuplicateKeyError:
                failures.append({"index": index, "code": 11000})
                return not ordered

        await self._schedule.write([_bind(step, index, copy(doc)) for index, doc in enumerate(docs)])
        if failures:
            raise BulkWriteError({"writeErrors": failures, "writeConcernErrors": []})

    async def find_one_and_update(self, *_: Any, **__: Any) -> Doc:
        """Fail: the workers count failures of a walk so, and no walk may fail."""
        raise AssertionError("a walk failed")

    async def update_one(self, query: Doc, change: Doc) -> Matched:
        """Update the first document that matches, and return how many matched."""
        matched: list[int] = []

        def step() -> bool:
            matched.append(self._update(query, copy(change), 1))
            return True

        await self._schedule.write([step])
        return Matched(sum(matched))

    async def replace_one(self, query: Doc, new: Doc) -> None:
        """Replace the first document that matches."""
        await self._schedule.write([lambda: bool(self._replace(query, copy(new), 1)) or True])

    async def update_many(self, query: Doc, change: Doc) -> Matched:
        """Update all documents that match, one after the other, and return how many matched."""
        ids = [doc["_id"] for doc in self._candidates(query)]
        matched: list[int] = []

        def step(id_: Any) -> bool:
            matched.append(self._update({**query, "_id": id_}, change, 1))
            return True

        await self._schedule.write([_bind(step, id_) for id_ in ids])
        return Matched(sum(matched))

    async def delete_one(self, query: Doc) -> None:
        """Delete the first document that matches."""
        await self._schedule.write([lambda: bool(self._delete(query)) or True])

    async def delete_many(self, query: Doc) -> None:
        """Delete all documents that match, one after the other."""
        ids = [doc["_id"] for doc in self._candidates(query)]
        await self._schedule.write([_bind(lambda i: bool(self._delete({**query, "_id": i})) or True, i) for i in ids])

    def fail_in_next_bulk_write(self, after: int) -> None:
        """Let the primary fail when it has run so many operations of the next bulk write, which raises AutoReconnect."""
        self._run_before_failure = after

    async def bulk_write(self, operations: Sequence[UpdateOne | ReplaceOne[Doc]], ordered: bool = True) -> Matched:
        """Run the updates and replacements one after the other, and return how many matched."""
        matched: list[int] = []
        run, self._run_before_failure = self._run_before_failure, None

        def step(operation: UpdateOne | ReplaceOne[Doc]) -> bool:
            change = self._replace if isinstance(operation, ReplaceOne) else self._update
            found = change(operation._filter, copy(operation._doc), 1)  # type: ignore[arg-type]
            matched.append(found)
            if not found and operation._upsert:
                self._upsert(operation._filter["_id"], copy(operation._doc))  # type: ignore[arg-type]
            return True

        await self._schedule.write([_bind(step, operation) for operation in operations[:run]])
        if run is not None:
            raise AutoReconnect("the primary failed")
        return Matched(sum(matched))

    def _read(self, query: Mapping[str, Any]) -> list[Doc]:
        lagging = _lagging.get()
        state = None if lagging is None else lagging.next_state(self._history.newest)
        docs = self.docs if state is None else self._history.docs_at(self, state)
        return self._select(query, docs)

    def _select(self, query: Mapping[str, Any], docs: Mapping[Any, Doc] | None = None) -> list[Doc]:
        candidates = self._candidates(query, docs)
        return select(candidates, query) if candidates else []

    def _candidates(self, query: Mapping[str, Any], docs: Mapping[Any, Doc] | None = None) -> list[Doc]:
        docs = self.docs if docs is None else docs
        key = query.get("_id")
        if isinstance(key, str):
            return [docs[key]] if key in docs else []
        if isinstance(key, dict) and "$in" in key:
            return [docs[i] for i in key["$in"] if i in docs]
        return list(docs.values())

    def _keys(self, doc: Doc) -> list[tuple[Any, ...]]:
        return [(names, *(doc[name] for name in names)) for names in self._unique if all(name in doc for name in names)]

    def _insert(self, doc: Doc) -> bool:
        keys = self._keys(doc)
        if doc["_id"] in self.docs or not self._unique_keys.isdisjoint(keys):
            raise DuplicateKeyError("duplicate key", 11000)
        self._history.note(self, doc["_id"])
        self.docs[doc["_id"]] = doc
        self._unique_keys.update(keys)
        return True

    def _upsert(self, doc_id: str, change: Doc) -> None:
        doc: Doc = {"_id": doc_id, **change.pop("$setOnInsert", {})}
        apply_update(doc, change)
        self._insert(doc)

    def _delete(self, query: Mapping[str, Any]) -> int:
        found = self._select(query)[:1]
        for doc in found:
            self._history.note(self, doc["_id"])
            del self.docs[doc["_id"]]
            self._unique_keys.difference_update(self._keys(doc))
        return len(found)

    def _replace(self, query: Mapping[str, Any], new: Doc, limit: int) -> int:
        found = self._select(query)[:limit]
        for doc in found:
            assert self._keys(doc) == self._keys(new), "the faster embedded server keeps the old unique keys"
            doc_id = doc["_id"]
            self._history.note(self, doc_id)
            doc.clear()
            doc.update(new, _id=doc_id)
        return len(found)

    def _update(self, query: Mapping[str, Any], change: Doc, limit: int) -> int:
        found = self._select(query)[:limit]
        for doc in found:
            self._history.note(self, doc["_id"])
            apply_update(doc, {operator: parts for operator, parts in change.items() if operator != "$setOnInsert"})
        return len(found)


class Matched:
    """The result of a write to many documents."""

    def __init__(self, matched_count: int) -> None:
        self.matched_count = self.modified_count = matched_count


class Cursor:
    """A query that is sent when its result is read."""

    def __init__(self, schedule: Schedule, read: Callable[[], list[Doc]]) -> None:
        self._schedule = schedule
        self._read = read
        self._order: Sequence[tuple[str, int]] = ()
        self._limit: int | None = None
        self._rest: list[Doc] | None = None

    def sort(self, order: str | Sequence[tuple[str, int]], direction: int = 1) -> Cursor:
        """Set the sort order."""
        self._order = [(order, direction)] if isinstance(order, str) else order
        return self

    def limit(self, count: int | None) -> Cursor:
        """Set the largest number of documents to return. None is no limit."""
        self._limit = count
        return self

    async def to_list(self, length: int | None) -> list[Doc]:
        """Wait for a turn, then return the next documents, or all that are left, as they are at the first turn."""
        await self._schedule.wait_for_turn()
        if self._rest is None:
            docs = self._read()
            for name, direction in reversed(self._order):
                docs.sort(key=lambda doc: doc[name], reverse=direction < 0)
            self._rest = [copy(doc) for doc in docs[: self._limit]]
        end = len(self._rest) if length is None else length
        found, self._rest = self._rest[:end], self._rest[end:]
        return found

    async def close(self) -> None:
        """End the query. Documents in memory hold nothing open."""

    async def __aiter__(self) -> AsyncIterator[Doc]:
        for doc in await self.to_list(None):
            yield doc


def copy(doc: Doc) -> Doc:
    """Return the document as a store returns it: encoded to BSON and decoded."""
    return bson.decode(bson.encode(doc), _OPTIONS)


def _bind(step: Callable[..., bool], *args: Any) -> Callable[[], bool]:
    return lambda: step(*args)


Check = tuple[str, Callable[[Any, Any], bool], Any]
"""The path of a value, a comparison, and the operand with which it compares the value."""

_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "$in": lambda value, operand: value in operand,
    "$nin": lambda value, operand: value not in operand,
    "$gte": lambda value, operand: value is not _MISSING and value >= operand,
    "$gt": lambda value, operand: value is not _MISSING and value > operand,
    "$lte": lambda value, operand: value is not _MISSING and value <= operand,
    "$lt": lambda value, operand: value is not _MISSING and value < operand,
    "$ne": lambda value, operand: value != operand,
    "$all": lambda value, operand: [value] == operand,
    "$exists": lambda value, operand: (value is not _MISSING) == operand,
}


def _read_path(doc: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path, or _MISSING."""
    value: Any = doc
    for name in path.split("."):
        value = value.get(name, _MISSING) if isinstance(value, dict) else _MISSING
    return value


def _equals(value: Any, operand: Any) -> bool:
    return value == operand or (isinstance(value, list) and operand in value)


def list_checks(query: Mapping[str, Any]) -> list[Check]:
    """Return the comparisons that a document passes if it matches. Raises KeyError for an unsupported operator.

    The one of the workspace is the last, because a run has one workspace.
    """
    checks: list[Check] = []
    for name, condition in query.items():
        if name == "$and":
            checks += (check for each in condition for check in list_checks(each))
        elif isinstance(condition, dict):
            checks += ((name, _COMPARISONS[operator], operand) for operator, operand in condition.items())
        else:
            checks.append((name, _equals, condition))
    checks.sort(key=lambda check: check[0] == "workspace")
    return checks


def select(docs: Iterable[Doc], query: Mapping[str, Any]) -> list[Doc]:
    """Return the documents that match a query. Raises KeyError for an operator that this store does not support."""
    checks = list_checks(query)
    found = []
    for doc in docs:
        for path, compare, operand in checks:
            if not compare(_read_path(doc, path) if "." in path else doc.get(path, _MISSING), operand):
                break
        else:
            found.append(doc)
    return found


def apply_update(doc: Doc, change: Doc) -> None:
    """Apply an update to the document. Raises KeyError for an operator that this store does not support."""
    for operator, parts in change.items():
        apply = _UPDATES[operator]
        for path, operand in parts.items():
            *parents, name = path.split(".")
            parent_doc = doc
            for parent in parents:
                parent_doc = parent_doc.setdefault(parent, {})
            apply(parent_doc, name, operand)


def _set(parent: Doc, name: str, value: Any) -> None:
    parent[name] = value


def _unset(parent: Doc, name: str, _: Any) -> None:
    parent.pop(name, None)


def _max(parent: Doc, name: str, value: Any) -> None:
    parent[name] = max(parent.get(name, value), value)


def _inc(parent: Doc, name: str, value: Any) -> None:
    parent[name] = parent.get(name, 0) + value


def _min(parent: Doc, name: str, value: Any) -> None:
    parent[name] = min(parent.get(name, value), value)


def _push(parent: Doc, name: str, value: Doc) -> None:
    parent.setdefault(name, []).extend(value["$each"])


def _pull(parent: Doc, name: str, query: Doc) -> None:
    items = parent.get(name, [])
    pulled = select(items, query)
    parent[name] = [item for item in items if item not in pulled]


_UPDATES: Mapping[str, Callable[[Doc, str, Any], None]] = {
    "$set": _set, "$unset": _unset, "$inc": _inc, "$max": _max, "$min": _min, "$push": _push, "$pull": _pull,
}  # fmt: skip
