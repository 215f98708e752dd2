"""Migration of the indexes: what a database has is compared with what this version needs, then built, hidden or dropped.

Building an index of a large collection takes minutes to hours. So one run of `punchcard migrate` builds the indexes, and
the API and the workers only compare.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pymongo import IndexModel
from pymongo.errors import OperationFailure, PyMongoError

from app.domain.errors import PunchcardError
from app.store.mongo.queries import Database, Doc, ErrorTranslating

from .indexes import FORMER_INDEXES, INDEXES, check_slots, store_slots

NAMESPACE_NOT_FOUND = 26
UNAUTHORIZED = 13
PROGRESS_INTERVAL_SECONDS = 2.0
"""How often a running build is asked for its progress."""
COMPARED_OPTIONS = ("unique", "sparse", "partialFilterExpression", "expireAfterSeconds", "collation")
"""Options by which an index of the same name serves other queries or refuses other documents."""


class NotMigrated(PunchcardError):
    """A database that lacks indexes, so that this version must not start on it. `punchcard migrate` makes them."""


class MigrationFailed(PunchcardError):
    """A change of an index that the store refused. The message names the index and the next step."""


@dataclass(frozen=True, slots=True)
class IndexConflict:
    """An index that has the name or the fields of a needed one, but differs from it. `reason` says how."""

    collection: str
    name: str
    reason: str

    @property
    def advice(self) -> str:
        """What is wrong, and what the operator does next."""
        return (
            f"{self.collection}.{self.name} {self.reason}. Stop the processes that use the database, run"
            f' `db.{self.collection}.dropIndex("{self.name}")` in mongosh, then run `punchcard migrate` again.'
        )


@dataclass(frozen=True, slots=True)
class IndexComparison:
    """The indexes of a database compared with those of this version. Names are "collection.name".

    `building` are needed and still being built. `former` were made by earlier versions and serve nothing now;
    `hidden` are those of them that queries do not see. `foreign` are the operator's own.
    """

    missing: Sequence[str] = ()
    building: Sequence[str] = ()
    conflicts: Sequence[IndexConflict] = ()
    former: Sequence[str] = ()
    hidden: Sequence[str] = ()
    foreign: Sequence[str] = ()

    @property
    def lacking(self) -> tuple[str, ...]:
        """Names of the needed indexes that queries cannot use now."""
        lost = {f"{each.collection}.{each.name}" for each in self.conflicts}
        return tuple(sorted({*self.missing, *self.building, *(lost & _needed_names())}))


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """Progress of one index build: a text of the server, and how much of the phase is done if the server counts it."""

    collection: str
    phase: str
    done: int | None = None
    total: int | None = None

    def __str__(self) -> str:
        """Return the progress as one line."""
        share = f" {100 * (self.done or 0) // self.total} %" if self.total else ""
        return f"{self.collection}: {self.phase}{share}"


@dataclass
class _Found:
    """What a comparison has found so far."""

    missing: list[str] = field(default_factory=list)
    building: list[str] = field(default_factory=list)
    conflicts: list[IndexConflict] = field(default_factory=list)
    former: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


class Migration(ErrorTranslating):
    """Comparison and changes of the indexes. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def compare_indexes(self) -> IndexComparison:
        """Return how the indexes of the database differ from those that this version needs. Changes nothing."""
        listed = await asyncio.gather(*(self._list_indexes(collection) for collection in INDEXES))
        found = _Found()
        for collection, docs in zip(INDEXES, listed, strict=True):
            _compare_collection(collection, docs, found)
        return IndexComparison(**vars(found))

    async def build_indexes(
        self, collection: str, names: Sequence[str], report: Callable[[BuildProgress], None]
    ) -> None:
        """Build indexes of a collection in one scan, and call `report` with the progress that the server gives.

        On a replica set, the build ends when a majority of the members has it: with the default of all members, a
        build never ends while one is down. Safe to repeat. If the connection is lost, the build goes on in the server:
        then this raises Unavailable, and a repeat waits for the build. Raises MigrationFailed if the store refuses.
        """
        await store_slots(self._db)
        await self.build(
            collection, [model for model in INDEXES[collection] if model.document["name"] in names], report
        )

    async def build(
        self, collection: str, models: Sequence[IndexModel], report: Callable[[BuildProgress], None]
    ) -> None:
        """Build these indexes of a collection. As `build_indexes`."""
        options: dict[str, Any] = {"commitQuorum": "majority"} if await self._takes_quorum() else {}
        building = asyncio.ensure_future(self._db[collection].create_indexes(list(models), **options))
        while not (await asyncio.wait({building}, timeout=PROGRESS_INTERVAL_SECONDS))[0]:
            for progress in await self._read_progress():
                report(progress)
        try:
            await building
        except OperationFailure as error:
            names = ", ".join(str(model.document["name"]) for model in models)
            raise MigrationFailed(_explain(error, f"The indexes {names} of {collection}")) from error

    async def hide_index(self, collection: str, name: str) -> None:
        """Hide an index from queries, while the server keeps it up to date. Safe to repeat. Raises MigrationFailed."""
        await self._change(f"{collection}.{name}", {"collMod": collection, "index": {"name": name, "hidden": True}})

    async def drop_index(self, collection: str, name: str) -> None:
        """Drop an index. Safe to repeat. Raises MigrationFailed."""
        await self._change(f"{collection}.{name}", {"dropIndexes": collection, "index": name})

    async def _change(self, title: str, command: Doc) -> None:
        try:
            await self._db.command(command)
        except OperationFailure as error:
            raise MigrationFailed(_explain(error, f"The index {title}")) from error

    async def _list_indexes(self, collection: str) -> list[Doc]:
        """Return the indexes of a collection. Those under way have a `buildUUID`, where the server says so."""
        for options in ({"includeBuildUUIDs": True}, {}):
            command = {"listIndexes": collection, "cursor": {"batchSize": 1_000}, **options}
            try:
                answer = await self._db.command(command)
            except OperationFailure as error:
                if error.code == NAMESPACE_NOT_FOUND:
                    return []
                if not options:
                    raise
            else:
                return list(answer["cursor"]["firstBatch"])
        return []

    async def _takes_quorum(self) -> bool:
        """Return whether the server takes a commit quorum: a standalone server refuses it."""
        hello = await self._db.client.admin.command("hello")
        return "setName" in hello or hello.get("msg") == "isdbgrid"

    async def _read_progress(self) -> list[BuildProgress]:
        """Return the progress of index builds in this database; none if this user may not see it."""
        for all_users in (True, False):
            try:
                docs = await self._db.client.admin.aggregate([{"$currentOp": {"allUsers": all_users}}]).to_list(None)
            except PyMongoError:
                continue
            return find_progress(docs, self._db.name)
        return []


def find_progress(operations: Sequence[Mapping[str, Any]], database: str) -> list[BuildProgress]:
    """Return the progress of the index builds among the operations that `$currentOp` lists.

    The thread that builds has a message such as "Index Build: scanning collection", and counts in `progress`.
    """
    found = []
    for operation in operations:
        name, _, collection = str(operation.get("ns", "")).partition(".")
        phase = str(operation.get("msg", ""))
        if name == database and phase.startswith("Index Build"):
            counted = operation.get("progress") or {}
            found.append(
                BuildProgress(
                    collection,
                    phase.partition(":")[2].strip() or phase,
                    done=counted.get("done"),
                    total=counted.get("total"),
                )
            )
    return found


async def require_indexes(db: Database) -> None:
    """Raise NotMigrated if this version needs an index that the database does not have. Changes nothing.

    Raises SlotsChanged if the database was created with another number of slots. Raises Unavailable; safe to repeat.
    """
    await check_slots(db)
    lacking = (await Migration(db).compare_indexes()).lacking
    if lacking:
        listed = ", ".join(lacking[:3]) + (f" and {len(lacking) - 3} more" if len(lacking) > 3 else "")
        raise NotMigrated(
            f"The database {db.name} lacks {len(lacking)} of the indexes that this version needs: {listed}. "
            "Run `punchcard migrate` once and wait until it ends, then start again."
        )


def _compare_collection(collection: str, docs: Sequence[Doc], found: _Found) -> None:
    stored: dict[str, Doc] = {}
    for doc in docs:
        spec = doc.get("spec", doc)
        stored[spec["name"]] = {**spec, "is_building": "buildUUID" in doc}
    needed = {str(model.document["name"]): model for model in INDEXES[collection]}
    for name, model in needed.items():
        if name not in stored:
            found.missing.append(f"{collection}.{name}")
            # MongoDB refuses a second index that differs in its name only.
            twin = next((each for each in stored.values() if not _differences(model, each)), None)
            if twin is not None:
                reason = f"is the index that this version needs, under another name than {name}"
                found.conflicts.append(IndexConflict(collection, twin["name"], reason))
        elif differences := _differences(model, stored[name]):
            reason = f"differs from the index that this version needs in {', '.join(differences)}"
            found.conflicts.append(IndexConflict(collection, name, reason))
        elif stored[name]["is_building"]:
            found.building.append(f"{collection}.{name}")
    former = FORMER_INDEXES.get(collection, frozenset())
    for name, spec in stored.items():
        if name == "_id_" or name in needed:
            continue
        (found.former if name in former else found.foreign).append(f"{collection}.{name}")
        if name in former and spec.get("hidden"):
            found.hidden.append(f"{collection}.{name}")


def _differences(model: IndexModel, stored: Doc) -> list[str]:
    """Return the names of the parts in which a stored index differs from a needed one."""
    needed = model.document
    differences = [] if list(needed["key"].items()) == list(stored["key"].items()) else ["its fields"]
    for option in COMPARED_OPTIONS:
        # A server may report `unique: false`; an expiry of 0 seconds is not the same as none.
        before, after = (None if doc.get(option) is False else doc.get(option) for doc in (stored, needed))
        if before != after:
            differences.append(f"`{option}`")
    return differences


def _needed_names() -> set[str]:
    return {f"{collection}.{model.document['name']}" for collection, models in INDEXES.items() for model in models}


def _explain(error: OperationFailure, subject: str) -> str:
    """Return a sentence without the server's message, which may quote values of documents."""
    name = str((error.details or {}).get("codeName") or "an error without a name")
    advice = "Read the log of the MongoDB server for the details."
    if error.code == UNAUTHORIZED:
        advice = "Give the database user the role `dbAdmin` on the database, at least for the migration."
    return f"{subject} could not be changed: the store answered {name} ({error.code}). {advice}"
