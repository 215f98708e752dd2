"""Named queries over the passes of one workspace.

Erased passes are never returned. For a merged pass, its survivor is returned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from app.clock import system_ms
from app.domain.ids import SLOTS
from app.domain.passes.passes import Pass
from app.domain.state.lots import Lots
from app.domain.state.measures import State
from app.domain.values.instants import EARLIEST, to_ms
from app.store.codecs.pass_parts import lots_from_docs
from app.store.codecs.pass_search import FIND_PROJECTION
from app.store.codecs.passes import from_doc, to_doc
from app.store.codecs.states import state_from_doc
from app.store.mongo.id_pages import read_id_page
from app.store.mongo.id_ranges import PASS_IDS
from app.store.mongo.paging import Page, PageRequest, read_page, to_stored_keys
from app.store.mongo.queries import Collection, Database, Doc, WorkspaceQueries, insert_new
from app.store.mongo.usage import charge_counted

from .pass_names import PassNameQueries

# Lists of passes leave out the fields that only the fold needs, and lots, which may be many and are rarely requested.
LIST_PROJECTION = {"state": 0, "lb": 0, "decided": 0, "out": 0, "lots": 0, **FIND_PROJECTION}
IDENTITY_PROJECTION = {"erased": 1, "alias_of": 1}
CREATED = {"$gte": EARLIEST}
"""A filter that excludes stubs and aliases, which have no `created_at`. The index covers the bound."""


@dataclass(frozen=True, slots=True)
class FoundPasses:
    """Passes found by external id: the id of each pass that exists, or of its survivor.

    `reserved` are the ids of passes that do not exist, and whose creation has begun.
    """

    ids: dict[str, str]
    reserved: dict[str, str] = field(default_factory=dict)


class PassQueries(WorkspaceQueries):
    """Passes of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "passes"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int, *, is_sharded: bool = False) -> None:
        super().__init__(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self._events = db["events"]
        self._names = PassNameQueries(db, workspace_id, in_chunk, is_sharded=is_sharded)

    async def get(self, pass_id: str) -> Pass | None:
        """Return the pass of that id, or its survivor, or None. Index: _id."""
        return (await self.get_many([pass_id])).get(pass_id)

    async def get_many(self, pass_ids: Iterable[str]) -> dict[str, Pass]:
        """Return by id the passes that exist among the ids, or their survivors. Index: _id."""
        survivors = await self._with_survivors({pass_id: pass_id for pass_id in pass_ids}, LIST_PROJECTION)
        return {pass_id: from_doc(doc) for pass_id, doc in survivors.items()}

    async def complete(self, pass_id: str) -> Pass | None:
        """Return the pass of that id, or its survivor, with everything that a walk reads; or None. Index: _id."""
        survivors = await self._with_survivors({pass_id: pass_id}, None)
        return from_doc(survivors[pass_id]) if pass_id in survivors else None

    async def version(self, pass_id: str) -> int | None:
        """Return the counter of the writes of a pass, or None. Index: _id."""
        docs = await self._by_ids([pass_id], {"v": 1})
        return docs[0]["v"] if docs else None

    async def measures(self, pass_ids: Iterable[str]) -> dict[str, Mapping[str, State]]:
        """Return by id the measures of passes, which lists leave out. Index: _id."""
        docs = await self._by_ids(pass_ids, {"state": 1})
        return {doc["_id"]: {key: state_from_doc(state) for key, state in doc.get("state", {}).items()} for doc in docs}

    async def lots(self, pass_ids: Iterable[str]) -> dict[str, Lots]:
        """Return by id the lots of points with an expiry, for passes that ever had any. Index: _id."""
        docs = await self._by_ids(pass_ids, {"lots": 1})
        return {doc["_id"]: found for doc in docs if (found := lots_from_docs(doc.get("lots"))) is not None}

    async def by_external_id(self, external_id: str) -> Pass | None:
        """Return the pass of that external id, or its survivor, or None. Two round trips. Index: _id."""
        return (await self.get_by_external_ids([external_id])).get(external_id)

    async def get_by_external_ids(self, external_ids: Sequence[str]) -> dict[str, Pass]:
        """Return by external id the passes that exist, or their survivors. Two round trips. Index: _id."""
        names = await self._names.find(external_ids)
        cards = await self.get_many(each.pass_id for each in names.values())
        return {name: cards[each.pass_id] for name, each in names.items() if each.pass_id in cards}

    async def external_ids(self, pass_ids: Iterable[str]) -> dict[str, str]:
        """Return by pass id the external id of the pass or of its survivor, for those that exist. Index: _id."""
        survivors = await self._with_survivors(
            {pass_id: pass_id for pass_id in pass_ids}, {"external_id": 1, **IDENTITY_PROJECTION}
        )
        return {pass_id: doc["external_id"] for pass_id, doc in survivors.items()}

    async def own_external_ids(self, pass_ids: Iterable[str]) -> dict[str, str]:
        """Return by pass id the external id that each pass was created with, also of aliases; none of erased ones.

        Index: _id.
        """
        docs = await self._by_ids(pass_ids, {"external_id": 1, "erased": 1})
        return {doc["_id"]: doc["external_id"] for doc in docs if "erased" not in doc}

    async def existing(self, pass_ids: Sequence[str]) -> dict[str, str]:
        """Return by pass id the id of the pass or of its survivor, for those that exist. Index: _id."""
        survivors = await self._with_survivors({pass_id: pass_id for pass_id in pass_ids}, IDENTITY_PROJECTION)
        return {pass_id: doc["_id"] for pass_id, doc in survivors.items()}

    async def ids_of(self, external_ids: Sequence[str]) -> dict[str, str]:
        """Return by external id the id of the pass or of its survivor, for those that exist. As `find_by_names`."""
        return (await self.find_by_names(external_ids)).ids

    async def find_by_names(self, external_ids: Sequence[str]) -> FoundPasses:
        """Return the ids of the passes of these external ids. Index: _id.

        One round trip for passes that were found before. For others, one more looks at the passes, and a third one notes
        that they exist.
        """
        names = await self._names.find(external_ids)
        ready = {name: each.pass_id for name, each in names.items() if each.is_ready}
        others = {name: each.pass_id for name, each in names.items() if not each.is_ready}
        if not others:
            return FoundPasses(ready)
        docs = {doc["_id"]: doc for doc in await self._by_ids(others.values(), IDENTITY_PROJECTION)}
        reserved = {name: pass_id for name, pass_id in others.items() if pass_id not in docs}
        existing = {name: docs[pass_id] for name, pass_id in others.items() if pass_id in docs}
        merged = {name: doc["alias_of"] for name, doc in existing.items() if "alias_of" in doc}
        found = {name: doc["_id"] for name, doc in existing.items() if "erased" not in doc and name not in merged}
        await self._names.confirm(found)
        survivors = await self._with_survivors(merged, IDENTITY_PROJECTION)
        return FoundPasses(ready | found | {name: doc["_id"] for name, doc in survivors.items()}, reserved)

    async def _with_survivors(self, pass_ids: Mapping[str, str], projection: Doc | None) -> dict[str, Doc]:
        """Return by name the documents of the passes (name -> pass id), following merges to the survivors."""
        found: dict[str, Doc] = {}
        remaining = dict(pass_ids)
        while remaining:
            docs = {
                doc["_id"]: doc for doc in await self._by_ids(remaining.values(), projection) if "erased" not in doc
            }
            existing = {name: docs[pass_id] for name, pass_id in remaining.items() if pass_id in docs}
            found |= {name: doc for name, doc in existing.items() if "alias_of" not in doc}
            remaining = {name: doc["alias_of"] for name, doc in existing.items() if "alias_of" in doc}
        return found

    async def survivor_id(self, pass_id: str) -> str | None:
        """Return the id of the pass into which this one was merged, or None. Index: _id."""
        docs = await self._by_ids([pass_id], {"alias_of": 1})
        return docs[0].get("alias_of") if docs else None

    async def aliases(self, pass_ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return by pass id all aliases of the pass, with their own aliases, for passes that have any.

        Index: {workspace, alias_of, alias}, one query for each pass that has an alias or is one.
        """
        survivors = {pass_id: pass_id for pass_id in pass_ids}
        found: dict[str, tuple[str, ...]] = {}
        while survivors:
            # With a list of passes, the embedded servers read all passes of the workspace.
            levels = await asyncio.gather(*map(self._find_aliases, survivors))
            survivors = {doc["_id"]: survivors[doc["alias_of"]] for docs in levels for doc in docs}
            for alias, survivor in survivors.items():
                found[survivor] = (*found.get(survivor, ()), alias)
        return found

    async def _find_aliases(self, pass_id: str) -> list[Doc]:
        where = self._in_workspace(alias_of=pass_id, alias={"$gte": 0})
        return await self._collection.find(where, {"alias_of": 1}).to_list(None)

    async def reserve(self, cards: Sequence[Pass]) -> list[Pass]:
        """Reserve the external ids of new passes, and return the passes with the ids that the external ids belong to.

        Call this before `insert`. If another call has reserved an external id, whether its pass exists or not, the pass
        returned has the id that this call reserved. So a creation that crashed is completed, and of two creations at once
        only one inserts the pass. Safe to repeat. Index: _id.
        """
        ids = await self._names.reserve({card.external_id: card.id for card in cards})
        return [card if ids[card.external_id] == card.id else replace(card, id=ids[card.external_id]) for card in cards]

    async def free_names_of_erased(self, external_ids: Sequence[str]) -> None:
        """Free external ids whose pass is erased and forgotten. Safe to repeat. Two round trips for most. Index: _id.

        A slow creation may have read a name before the erasure freed it, and stored the name again afterwards.
        """
        names = await self._names.find(external_ids)
        docs = await self._by_ids([each.pass_id for each in names.values()], {"gone": 1})
        gone = {doc["_id"] for doc in docs if "gone" in doc}
        for name, each in names.items():
            if each.pass_id in gone:
                await self._names.free(name, each.pass_id)

    async def close_name(self, card: Pass) -> None:
        """Let every reader of the external id look at the pass, before the pass is merged or erased. Index: _id."""
        await self._names.close({card.external_id: card.id})

    async def insert(self, cards: Sequence[Pass]) -> set[int]:
        """Insert passes that `reserve` returned, and return the indexes of those that already exist. Safe to repeat."""
        now_ms = system_ms()
        return await insert_new(self._collection, [to_doc(card, now_ms) for card in cards])

    async def page(self, span: PageRequest) -> Page[Pass]:
        """Return passes, the newest first; key (created ms, id). Index: {workspace, created_at, _id}."""
        return await read_newest(self._collection, self._in_workspace(created_at=CREATED), span, LIST_PROJECTION)

    async def count(self) -> int:
        """Return the number of passes. Index: {workspace, created_at, _id}."""
        return await self._count(created_at=CREATED)

    async def members(self, segment_id: str, span: PageRequest) -> Page[Pass]:
        """Return the current members of a segment; key (pass id). Index: {workspace, memberships.s, _id}."""
        query = self._in_workspace(**{"memberships.s": segment_id})
        by = ("workspace", "memberships.s")

        async def read(part: PageRequest) -> Page[Pass]:
            return await read_page(self._collection, query, (("_id", 1),), part, from_doc, LIST_PROJECTION, by)

        return await read_id_page(read, span, PASS_IDS)

    async def member_count(self, segment_id: str) -> int:
        """Return the number of current members of a segment. Index: {workspace, memberships.s, _id}."""
        return await self._count(**{"memberships.s": segment_id})

    async def member_counts(self, segment_ids: Sequence[str]) -> dict[str, int]:
        """Return the number of current members of each segment. Index: {workspace, memberships.s, _id}.

        One count of index entries for each segment, all at once. One query for several would read the documents of all
        members: no index covers the entries of a list.
        """
        counts = await asyncio.gather(*map(self.member_count, segment_ids))
        return dict(zip(segment_ids, counts, strict=True))

    async def is_evaluated_until(self, revision: int, until: datetime) -> bool:
        """Return whether no pass waits to be evaluated under a revision, or for what happened until an instant.

        Parked passes are left out. Three round trips. Indexes: {workspace, slot, rev}, {due, slot}, {pend, workspace, pass,
        occurred_at, _id}.
        """
        # Conditions outside the index are a stage of their own: else the embedded servers read the whole workspace.
        behind: list[Doc] = [
            {"$match": self._in_workspace(slot={"$gte": 0, "$lt": SLOTS}, rev={"$gte": 0, "$lt": revision})},
            {"$match": {"parked": {"$exists": False}}},
        ]
        due: list[Doc] = [
            {"$match": {"due": {"$gte": 0, "$lt": to_ms(until) + 1}}},
            {"$match": {**self._in_workspace(), "parked": {"$exists": False}}},
        ]
        pending: list[Doc] = [
            {"$match": {"pend": {"$gte": 0, "$lt": SLOTS}, **self._in_workspace()}},
            {"$match": {"recorded_at": {"$lte": until}}},
        ]
        first: list[Doc] = [{"$limit": 1}, {"$project": {"_id": 1}}]
        for collection, stages in ((self._collection, behind), (self._collection, due), (self._events, pending)):
            if await collection.aggregate([*stages, *first]).to_list(None):
                return False
        return True

    async def revisions(self) -> dict[int, int]:
        """Return the number of passes last evaluated under each revision. One round trip. Index: {workspace, slot, rev}."""
        stages: list[Doc] = [
            {"$match": self._in_workspace(slot={"$gte": 0}, rev={"$gte": 0})},
            {"$group": {"_id": "$rev", "count": {"$sum": 1}}},
        ]
        docs = await self._collection.aggregate(stages).to_list(None)
        charge_counted(sum(doc["count"] for doc in docs))
        return {doc["_id"]: doc["count"] for doc in docs}


async def read_newest(passes: Collection, created: Doc, span: PageRequest, projection: Doc) -> Page[Pass]:
    """Return a page of the passes that a filter with a bound of `created_at` selects, the newest first."""
    order = (("created_at", -1), ("_id", -1))
    return await read_page(passes, created, order, to_stored_keys(span), from_doc, projection)
