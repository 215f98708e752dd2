"""Named queries over the tombstones of one workspace, and over the figures of erased passes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial, reduce
from operator import or_
from typing import Any, NamedTuple

from app.domain.events.events import PASS_ERASED, TOMBSTONES, Origin
from app.domain.events.tombstones import Erasure, Tombstone, merge_id, tombstone_id
from app.domain.jobs import JobKind
from app.domain.values.instants import EARLIEST, from_ms
from app.store.codecs.events import build_stub, changed_hour_of_doc, tombstone_to_doc
from app.store.codecs.passes import erased_from_doc
from app.store.mongo.driver import last_election
from app.store.mongo.queries import Collection, Database, Doc, WorkspaceQueries, insert_new
from app.store.mongo.read_order import read_in_order

from .waiting import Waiting
from .workspaces import read_epochs

MAX_PENDING_COUNTED = 10_000
"""Pending removals of one kind that are counted."""


class DecidedMerges(NamedTuple):
    """Number of merges that were decided in a workspace, and the last election of a primary before it was read."""

    number: int
    election: object


class CustomerMarks(NamedTuple):
    """What changes with each merge that is decided in a workspace, and while each erasure runs.

    - `merges`: number of merges that were decided.
    - `has_open_merge`: whether the last one may have no tombstone yet.
    - `erasure_epoch`: the erasure epoch of the workspace.
    """

    merges: int
    has_open_merge: bool
    erasure_epoch: str


class RemovalQueries(WorkspaceQueries):
    """Removals of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "events"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int, *, is_sharded: bool = False) -> None:
        super().__init__(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self._passes, self._erasures, self._jobs = db["passes"], db["erasures"], db["jobs"]
        self._db, self._merges = db, db["merges"]

    async def insert(self, tombstones: Sequence[Tombstone], origin: Origin) -> set[int]:
        """Insert pending tombstones and return the indexes of those whose target has one already. Safe to repeat."""
        docs = [tombstone_to_doc(tombstone, self._workspace_id, origin) for tombstone in tombstones]
        return await insert_new(self._collection, docs)

    async def target_hours(self, event_ids: Sequence[str]) -> Mapping[str, int]:
        """Return by event, as far as they exist, the first instants of their UTC hours in milliseconds. Index: _id."""
        docs = await self._by_ids(event_ids, {"type": 1, "occurred_at": 1})
        hours = {doc["_id"]: changed_hour_of_doc(doc) for doc in docs}
        return {event_id: hour for event_id, hour in hours.items() if hour is not None}

    async def stub_missing(self, pass_ids: Mapping[str, str], at_ms: int) -> None:
        """Insert a stub under each id of an event that does not exist, so that it cannot be recorded any more.

        `pass_ids` has the pass of each, by the id of the event. Safe to repeat. Index: _id.
        """
        stubs = [
            {"_id": event_id, **build_stub(self._workspace_id, pass_id, from_ms(at_ms)), "never": 1}
            for event_id, pass_id in pass_ids.items()
        ]
        await insert_new(self._collection, stubs)

    async def never_recorded(self, event_ids: Sequence[str]) -> set[str]:
        """Return those of the events whose ids `stub_missing` took: they never existed. Index: _id."""
        return {doc["_id"] for doc in await self._by_ids(event_ids, {"never": 1}) if "never" in doc}

    async def pending(self) -> Waiting:
        """Return how many requested removals, erasures and merges are not finished, and since when.

        A removal job counts as one until it has ended: which events it will find is not known before.
        Counts up to 10,000 of each kind, in four round trips. Indexes: {workspace, open} of the jobs, {workspace, type,
        occurred_at, _id} of the tombstones, {merging, workspace} and {erasing, workspace} of the passes.
        """
        # A removal moves on while it is counted, always in the order of these reads. In another order, one that moves on
        # between two reads would be in neither of them, and an answer without it would be called exact.
        found = await self._oldest(self._jobs, "created_at", open=1, kind=JobKind.DELETE_EVENTS.value)
        # A tombstone keeps its `occurred_at` until the fold has cleared it, also in a parked pass.
        tombstones = await asyncio.gather(
            *(
                self._oldest(self._collection, "recorded_at", type=kind, occurred_at={"$gte": EARLIEST})
                for kind in sorted(TOMBSTONES)
            )
        )
        merging = await self._oldest(self._passes, "at", {"merging": {"$gte": 0}})
        # If the survivor is gone at the end of a merge, the merged pass is erased.
        erasing = await self._oldest(self._passes, "at", {"erasing": {"$gte": 0}})
        return reduce(or_, (*tombstones, merging, erasing), found)

    async def mark_customers(self) -> CustomerMarks:
        """Return what `are_same_customers` compares. Call it before anything else of a question is read. Index: _id."""
        epochs, doc = await asyncio.gather(read_epochs(self._db, self._workspace_id), self._find_merges())
        merges = doc or {"rank": 0}
        return CustomerMarks(int(merges["rank"]), "open" in merges, epochs.erasures)

    async def are_same_customers(self, before: CustomerMarks) -> bool:
        """Return whether no merge and no erasure was requested since, apart from those that `pending` found after that.

        Three round trips. Indexes: {workspace, type, occurred_at, _id} of the tombstones, {erasing, workspace}, _id.
        """
        # In the order in which an erasure moves on: the fold marks the pass before it clears the tombstone, and the epoch
        # changes before the marked pass is deleted.
        requested = await self._oldest(
            self._collection, "recorded_at", type=PASS_ERASED, occurred_at={"$gte": EARLIEST}
        )
        if requested.number or before.has_open_merge or await self.is_erasing():
            return False
        return await self.mark_customers() == before

    async def is_erasing(self) -> bool:
        """Return whether a pass of the workspace is being erased. Index: {erasing, workspace}."""
        return bool((await self._oldest(self._passes, "at", {"erasing": {"$gte": 0}}, limit=1)).number)

    async def _oldest(
        self,
        collection: Collection,
        instant: str,
        flagged: Doc | None = None,
        *,
        limit: int = MAX_PENDING_COUNTED,
        **conditions: Any,
    ) -> Waiting:
        # Embedded servers read the few documents with a flag by its index only if the flag stands in a stage of its own.
        stages: list[Doc] = [
            *([] if flagged is None else [{"$match": flagged}]),
            {"$match": self._in_workspace(**conditions)},
            {"$limit": limit},
            {"$group": {"_id": None, "n": {"$sum": 1}, "at": {"$min": f"${instant}"}}},
        ]
        docs = await collection.aggregate(stages).to_list(None)
        if not docs:
            return Waiting()
        at = docs[0]["at"]
        return Waiting(int(docs[0]["n"]), at if isinstance(at, datetime) else from_ms(at))

    async def batches(self, target_ids: Sequence[str]) -> Mapping[str, str | None]:
        """Return by target the batch that requested its removal, for targets with a tombstone. Index: _id."""
        docs = await self._by_ids(map(tombstone_id, target_ids), {"removes": 1, "origin": 1})
        return {doc["removes"]: doc["origin"].get("batch") for doc in docs if "removes" in doc}

    async def merges(self, pass_id: str) -> list[str]:
        """Return the passes into which a pass is to be merged: its survivor, the survivor's survivor, and so on.

        Index: _id, one query for each.
        """
        found: list[str] = []
        while True:
            doc = await self._find_one(self._collection, merge_id(found[-1] if found else pass_id))
            # The stub of a tombstone has no survivor: the pass was erased before it was merged.
            if doc is None or "into" not in doc:
                return found
            found.append(doc["into"])

    async def complete_merge(self) -> DecidedMerges:
        """Store the tombstone of the merge that was decided last, and return the merges decided so far.

        The caller that decided a merge may have crashed before it stored the tombstone. Safe to repeat, and to run in
        several processes at once. One round trip if the tombstone is stored. On a sharded store, call it and `merges` in
        one block of `reading_in_order`. Index: _id.
        """
        election = last_election(self._db)
        while (doc := await self._find_merges()) is not None and "tombstone" in doc:
            await self._store_tombstone(doc["rank"], doc["tombstone"])
            # Read again: on a sharded store, the reads that follow must see at least the tombstone.
        return DecidedMerges(0 if doc is None else int(doc["rank"]), election)

    async def decide_merge(self, tombstone: Tombstone, origin: Origin, decided: DecidedMerges) -> bool:
        """Decide a merge after those that `complete_merge` returned, and store its tombstone. Index: _id.

        Returns False, with nothing changed, if another merge of the workspace was decided since. So it does if a primary
        was elected: a new one may not have shown the tombstones of merges that are decided. If this raises Unavailable,
        the merge may be decided; then the next call of `complete_merge` stores its tombstone. The document of the workspace
        decides, so that no index of the events has to be unique.
        """
        if last_election(self._db) != decided.election:
            return False
        rank, doc = decided.number, tombstone_to_doc(tombstone, self._workspace_id, origin)
        decision: Doc = {"rank": rank + 1, "tombstone": doc, "open": 1}
        if rank:
            as_read = {"_id": self._workspace_id, "rank": rank}
            is_decided = (await self._merges.update_one(as_read, {"$set": decision})).matched_count == 1
        else:
            is_decided = not await insert_new(self._merges, [{"_id": self._workspace_id, **decision}])
        if is_decided:
            await self._store_tombstone(rank + 1, doc)
        return is_decided

    async def _store_tombstone(self, rank: int, doc: Doc) -> None:
        # Events are never deleted. So a slow process that stores a tombstone late finds its id taken.
        await insert_new(self._collection, [doc])
        await self._merges.update_one(
            {"_id": self._workspace_id, "rank": rank}, {"$unset": {"tombstone": "", "open": ""}}
        )

    async def _find_merges(self) -> Doc | None:
        find = partial(self._merges.find_one, {"_id": self._workspace_id})
        doc: Doc | None = await read_in_order(self._db.client, find)
        return doc

    async def erasure(self, pass_id: str) -> Erasure | None:
        """Return the progress of a pass's erasure; None if none was requested, or the pass does not exist.

        Index: _id.
        """
        finished = await self._find_one(self._erasures, pass_id)
        doc = finished or await self._find_one(self._passes, pass_id)
        if doc is not None and "erased" in doc:
            erased = erased_from_doc(doc["erased"])
            return Erasure(
                pass_id=pass_id,
                erased_at=from_ms(erased.at_ms),
                events=erased.events,
                aggregates=erased.aggregates,
                segments=erased.segments,
                activities=doc["n"],
                done=finished is not None,
            )
        tombstone = await self._find_one(self._collection, tombstone_id(pass_id))
        return None if tombstone is None else Erasure(pass_id)

    async def _find_one(self, collection: Collection, id_: str) -> Doc | None:
        find = partial(collection.find_one, self._by_id(id_))
        doc: Doc | None = await read_in_order(self._db.client, find)
        return doc if doc is not None and doc["workspace"] == self._workspace_id else None
