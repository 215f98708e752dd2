"""Named queries over the passes of one workspace.

Erased passes are never returned. For a merged pass, its survivor is returned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.clock import system_ms
from app.domain.passes.passes import Pass
from app.domain.state.lots import Lots
from app.domain.state.measures import State
from app.domain.values.instants import EARLIEST
from app.store.codecs.pass_parts import lots_from_docs, state_from_doc
from app.store.codecs.passes import from_doc, to_doc
from app.store.mongo.paging import Page, PageRequest, read_page, to_stored_keys
from app.store.mongo.queries import Doc, WorkspaceQueries, in_chunks, insert_new
from app.store.mongo.usage import charge_counted

from .activities import any_of

# Lists of passes leave out the fields that only the fold needs, and lots, which may be many and are rarely requested.
LIST_PROJECTION = {"state": 0, "lb": 0, "out": 0, "lots": 0}
IDENTITY_PROJECTION = {"erased": 1, "alias_of": 1}
CREATED = {"$gte": EARLIEST}
"""A filter that excludes stubs and aliases, which have no `created_at`. The index covers the bound."""


class PassQueries(WorkspaceQueries):
    """Passes of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "passes"

    async def get(self, pass_id: str) -> Pass | None:
        """Return the pass of that id, or its survivor, or None. Index: _id."""
        return (await self.get_many([pass_id])).get(pass_id)

    async def get_many(self, pass_ids: Iterable[str]) -> dict[str, Pass]:
        """Return by id the passes that exist among the ids, or their survivors. Index: _id."""
        survivors = await self._with_survivors({pass_id: pass_id for pass_id in pass_ids}, LIST_PROJECTION)
        return {pass_id: from_doc(doc) for pass_id, doc in survivors.items()}

    async def measures(self, pass_ids: Iterable[str]) -> dict[str, Mapping[str, State]]:
        """Return by id the measures of passes, which lists leave out. Index: _id."""
        docs = await self._by_ids(pass_ids, {"state": 1})
        return {doc["_id"]: {key: state_from_doc(state) for key, state in doc.get("state", {}).items()} for doc in docs}

    async def lots(self, pass_ids: Iterable[str]) -> dict[str, Lots]:
        """Return by id the lots of points with an expiry, for passes that ever had any. Index: _id."""
        docs = await self._by_ids(pass_ids, {"lots": 1})
        return {doc["_id"]: found for doc in docs if (found := lots_from_docs(doc.get("lots"))) is not None}

    async def by_external_id(self, external_id: str) -> Pass | None:
        """Return the pass of that external id, or its survivor, or None. Index: {workspace, external_id}."""
        doc = await self._collection.find_one(self._in_workspace(external_id=external_id), LIST_PROJECTION)
        if doc is None or "erased" in doc:
            return None
        return await self.get(doc["alias_of"]) if "alias_of" in doc else from_doc(doc)

    async def get_by_external_ids(self, external_ids: Sequence[str]) -> dict[str, Pass]:
        """Return by external id the passes that exist, or their survivors. Index: {workspace, external_id}."""
        ids = await self.ids_of(external_ids)
        cards = await self.get_many(ids.values())
        return {external_id: cards[pass_id] for external_id, pass_id in ids.items() if pass_id in cards}

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
        """Return by external id the id of the pass or of its survivor, for those that exist.

        Index: {workspace, external_id}.
        """

        async def find_chunk(chunk: Sequence[str]) -> list[Doc]:
            query = self._in_workspace(external_id={"$in": list(chunk)})
            return await self._collection.find(query, {"external_id": 1, **IDENTITY_PROJECTION}).to_list(None)

        docs = await in_chunks(find_chunk, list(dict.fromkeys(external_ids)), self._in_chunk)
        found = {doc["external_id"]: doc["_id"] for doc in docs if "erased" not in doc}
        merged = {doc["external_id"]: doc["alias_of"] for doc in docs if "alias_of" in doc}
        survivors = await self._with_survivors(merged, IDENTITY_PROJECTION)
        return found | {name: doc["_id"] for name, doc in survivors.items()}

    async def _with_survivors(self, pass_ids: Mapping[str, str], projection: Doc) -> dict[str, Doc]:
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

        Index: {workspace, alias_of, alias}, one query for each level of merges.
        """
        survivors = {pass_id: pass_id for pass_id in pass_ids}
        found: dict[str, tuple[str, ...]] = {}
        while survivors:
            where = self._in_workspace(alias_of=any_of(list(survivors)), alias={"$gte": 0})
            docs = await self._collection.find(where, {"alias_of": 1}).to_list(None)
            survivors = {doc["_id"]: survivors[doc["alias_of"]] for doc in docs}
            for alias, survivor in survivors.items():
                found[survivor] = (*found.get(survivor, ()), alias)
        return found

    async def insert(self, cards: Sequence[Pass]) -> set[int]:
        """Insert passes and return the indexes of those whose external id (or id) already exists. Safe to repeat."""
        now_ms = system_ms()
        return await insert_new(self._collection, [to_doc(card, now_ms) for card in cards])

    async def page(self, span: PageRequest) -> Page[Pass]:
        """Return passes, the newest first; key (created ms, id). Index: {workspace, created_at, _id}."""
        order = (("created_at", -1), ("_id", -1))
        return await read_page(
            self._collection,
            self._in_workspace(created_at=CREATED),
            order,
            to_stored_keys(span),
            from_doc,
            LIST_PROJECTION,
        )

    async def count(self) -> int:
        """Return the number of passes. Index: {workspace, created_at, _id}."""
        return await self._count(created_at=CREATED)

    async def members(self, segment_id: str, span: PageRequest) -> Page[Pass]:
        """Return the current members of a segment; key (pass id). Index: {workspace, memberships.s, _id}."""
        query = self._in_workspace(**{"memberships.s": segment_id})
        by = ("workspace", "memberships.s")
        return await read_page(self._collection, query, (("_id", 1),), span, from_doc, LIST_PROJECTION, by)

    async def member_count(self, segment_id: str) -> int:
        """Return the number of current members of a segment. Index: {workspace, memberships.s, _id}."""
        return await self._count(**{"memberships.s": segment_id})

    async def member_counts(self, segment_ids: Sequence[str]) -> dict[str, int]:
        """Return the number of current members of each segment.

        One round trip. Index: {workspace, memberships.s, _id}.
        """
        if len(segment_ids) == 1:
            return {segment_ids[0]: await self.member_count(segment_ids[0])}
        stages: list[Doc] = [
            {"$match": self._in_workspace(**{"memberships.s": {"$in": list(segment_ids)}})},
            {"$unwind": "$memberships"},
            {"$group": {"_id": "$memberships.s", "count": {"$sum": 1}}},
        ]
        return await self._count_groups(stages, examined=True)

    async def revisions(self) -> dict[int, int]:
        """Return the number of passes last evaluated under each revision. One round trip. Index: {workspace, rev}."""
        stages: list[Doc] = [
            {"$match": self._in_workspace(rev={"$gte": 0})},
            {"$group": {"_id": "$rev", "count": {"$sum": 1}}},
        ]
        return await self._count_groups(stages, examined=False)

    async def _count_groups(self, stages: list[Doc], *, examined: bool) -> dict[Any, int]:
        """Return the counts of groups by their keys. With `examined`, the store reads the documents that it counts."""
        docs = await self._collection.aggregate(stages).to_list(None)
        charge_counted(sum(doc["count"] for doc in docs), examined=examined)
        return {doc["_id"]: doc["count"] for doc in docs}
