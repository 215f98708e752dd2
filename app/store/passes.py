"""Named queries over the passes of one workspace. Of an erased pass nothing is found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.domain.instants import EARLIEST
from app.domain.passes import Pass

from .collection import Doc, WorkspaceQueries, in_chunks, insert_new
from .paging import Page, Span, by_instant, page_of
from .pass_docs import from_doc, to_doc

# A list of passes never shows what only the fold needs.
SHOWN = {"state": 0, "lb": 0, "out": 0}
CREATED = {"$gte": EARLIEST}
"""What is left of an erased pass has no such instant: the bound leaves it out, and an index holds the bound."""


class PassQueries(WorkspaceQueries):
    """Passes of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "passes"

    async def get(self, pass_id: str) -> Pass | None:
        """The pass of that id, or None. Index: _id."""
        return (await self.get_many([pass_id])).get(pass_id)

    async def get_many(self, pass_ids: Iterable[str]) -> dict[str, Pass]:
        """The passes that exist among the ids. Index: _id."""
        return {doc["_id"]: from_doc(doc) for doc in await self._by_ids(pass_ids, SHOWN) if "erased" not in doc}

    async def by_external_id(self, external_id: str) -> Pass | None:
        """The pass of that external id, or None. Index: {workspace, external_id}."""
        doc = await self._all.find_one(self._mine(external_id=external_id), SHOWN)
        return None if doc is None or "erased" in doc else from_doc(doc)

    async def get_by_external_ids(self, external_ids: Sequence[str]) -> dict[str, Pass]:
        """external id -> pass, for those that exist. Index: {workspace, external_id}."""
        ids = await self.ids_of(external_ids)
        return {card.external_id: card for card in (await self.get_many(ids.values())).values()}

    async def external_ids(self, pass_ids: Iterable[str]) -> dict[str, str]:
        """id -> external id, for those that exist. Index: _id."""
        return {doc["_id"]: doc["external_id"] for doc in await self._by_ids(pass_ids, {"external_id": 1})}

    async def existing(self, pass_ids: Sequence[str]) -> set[str]:
        """Those of the ids that are passes here. Index: _id."""
        return {doc["_id"] for doc in await self._by_ids(pass_ids, {"erased": 1}) if "erased" not in doc}

    async def ids_of(self, external_ids: Sequence[str]) -> dict[str, str]:
        """external id -> id, for those that exist. Index: {workspace, external_id}."""

        async def some(chunk: Sequence[str]) -> list[Doc]:
            query = self._mine(external_id={"$in": list(chunk)})
            return await self._all.find(query, {"external_id": 1, "erased": 1}).to_list(None)

        docs = await in_chunks(some, list(dict.fromkeys(external_ids)), self._in_chunk)
        return {doc["external_id"]: doc["_id"] for doc in docs if "erased" not in doc}

    async def insert(self, cards: Sequence[Pass]) -> set[int]:
        """Inserts what is not there yet; the positions of those whose external id (or id) was taken. Safe to repeat."""
        return await insert_new(self._all, [to_doc(card) for card in cards])

    async def page(self, span: Span) -> Page[Pass]:
        """Passes, the newest first; key (created ms, id). Index: {workspace, created_at, _id}."""
        order = (("created_at", -1), ("_id", -1))
        return await page_of(self._all, self._mine(created_at=CREATED), order, by_instant(span), from_doc, SHOWN)

    async def count(self) -> int:
        """How many passes the workspace has. Index: {workspace, created_at, _id}."""
        return await self._all.count_documents(self._mine(created_at=CREATED))

    async def members(self, segment_id: str, span: Span) -> Page[Pass]:
        """The current members of a segment; key (pass id). Index: {workspace, memberships.s, _id}."""
        query = self._mine(**{"memberships.s": segment_id})
        by = ("workspace", "memberships.s")
        return await page_of(self._all, query, (("_id", 1),), span, from_doc, SHOWN, by)

    async def member_count(self, segment_id: str) -> int:
        """How many passes are in a segment now. Index: {workspace, memberships.s, _id}."""
        return await self._all.count_documents(self._mine(**{"memberships.s": segment_id}))

    async def member_counts(self, segment_ids: Sequence[str]) -> dict[str, int]:
        """How many passes are in each of some segments now, in one round trip. Index: {workspace, memberships.s, _id}."""
        if len(segment_ids) == 1:
            return {segment_ids[0]: await self.member_count(segment_ids[0])}
        stages: list[Doc] = [
            {"$match": self._mine(**{"memberships.s": {"$in": list(segment_ids)}})},
            {"$unwind": "$memberships"},
            {"$group": {"_id": "$memberships.s", "count": {"$sum": 1}}},
        ]
        return {doc["_id"]: doc["count"] for doc in await self._all.aggregate(stages).to_list(None)}

    async def revisions(self) -> dict[int, int]:
        """How many passes were last judged under each revision, in one round trip. Index: {workspace, rev}."""
        stages: list[Doc] = [
            {"$match": self._mine(rev={"$gte": 0})},
            {"$group": {"_id": "$rev", "count": {"$sum": 1}}},
        ]
        return {doc["_id"]: doc["count"] for doc in await self._all.aggregate(stages).to_list(None)}
