"""Named queries over the passes of one workspace.

Of an erased pass nothing is found; for one that was merged into another, that one answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from app.domain.passes.passes import Pass
from app.domain.state.points import Lots
from app.domain.values.instants import EARLIEST
from app.store.codecs.pass_parts import lots_from
from app.store.codecs.passes import from_doc, to_doc
from app.store.mongo.paging import Page, PageRequest, by_instant, page_of
from app.store.mongo.queries import Doc, WorkspaceQueries, in_chunks, insert_new

from .activities import any_of

# A list of passes never shows what only the fold needs, nor what may be long and is rarely asked for.
LIST_PROJECTION = {"state": 0, "lb": 0, "out": 0, "lots": 0}
NAMES = {"erased": 1, "alias_of": 1}
CREATED = {"$gte": EARLIEST}
"""What is left of an erased pass has no such instant: the bound leaves it out, and an index holds the bound."""


class PassQueries(WorkspaceQueries):
    """Passes of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "passes"

    async def get(self, pass_id: str) -> Pass | None:
        """The pass of that id, or None. Index: _id."""
        return (await self.get_many([pass_id])).get(pass_id)

    async def get_many(self, pass_ids: Iterable[str]) -> dict[str, Pass]:
        """By id, the passes that answer for those that exist among the ids. Index: _id."""
        answering = await self._with_survivors({pass_id: pass_id for pass_id in pass_ids}, LIST_PROJECTION)
        return {asked: from_doc(doc) for asked, doc in answering.items()}

    async def lots(self, pass_ids: Iterable[str]) -> dict[str, Lots]:
        """By id, what of their points has an end, for passes that ever had such. Index: _id."""
        docs = await self._by_ids(pass_ids, {"lots": 1})
        return {doc["_id"]: found for doc in docs if (found := lots_from(doc.get("lots"))) is not None}

    async def by_external_id(self, external_id: str) -> Pass | None:
        """The pass of that external id, or None. Index: {workspace, external_id}."""
        doc = await self._all.find_one(self._mine(external_id=external_id), LIST_PROJECTION)
        if doc is None or "erased" in doc:
            return None
        return await self.get(doc["alias_of"]) if "alias_of" in doc else from_doc(doc)

    async def get_by_external_ids(self, external_ids: Sequence[str]) -> dict[str, Pass]:
        """external id -> the pass that answers for it, for those that exist. Index: {workspace, external_id}."""
        ids = await self.ids_of(external_ids)
        cards = await self.get_many(ids.values())
        return {external_id: cards[pass_id] for external_id, pass_id in ids.items() if pass_id in cards}

    async def external_ids(self, pass_ids: Iterable[str]) -> dict[str, str]:
        """By id, the external id of the pass that answers for it, for those that exist. Index: _id."""
        answering = await self._with_survivors({pass_id: pass_id for pass_id in pass_ids}, {"external_id": 1, **NAMES})
        return {asked: doc["external_id"] for asked, doc in answering.items()}

    async def own_external_ids(self, pass_ids: Iterable[str]) -> dict[str, str]:
        """By id, the external id each was given itself, whoever answers for it by now; none of erased ones. Index: _id."""
        docs = await self._by_ids(pass_ids, {"external_id": 1, "erased": 1})
        return {doc["_id"]: doc["external_id"] for doc in docs if "erased" not in doc}

    async def existing(self, pass_ids: Sequence[str]) -> dict[str, str]:
        """By id, the id of the pass that answers for it, for those of the ids that are passes here. Index: _id."""
        answering = await self._with_survivors({pass_id: pass_id for pass_id in pass_ids}, NAMES)
        return {asked: doc["_id"] for asked, doc in answering.items()}

    async def ids_of(self, external_ids: Sequence[str]) -> dict[str, str]:
        """external id -> the id of the pass that answers for it, for those that exist. Index: {workspace, external_id}."""

        async def some(chunk: Sequence[str]) -> list[Doc]:
            query = self._mine(external_id={"$in": list(chunk)})
            return await self._all.find(query, {"external_id": 1, **NAMES}).to_list(None)

        docs = await in_chunks(some, list(dict.fromkeys(external_ids)), self._in_chunk)
        found = {doc["external_id"]: doc["_id"] for doc in docs if "erased" not in doc}
        merged = {doc["external_id"]: doc["alias_of"] for doc in docs if "alias_of" in doc}
        answering = await self._with_survivors(merged, NAMES)
        return found | {name: doc["_id"] for name, doc in answering.items()}

    async def _with_survivors(self, asked: Mapping[str, str], projection: Doc) -> dict[str, Doc]:
        """By the name it is asked under, the document of the pass that answers: of the id itself, or behind its merges."""
        found: dict[str, Doc] = {}
        left = dict(asked)
        while left:
            docs = {doc["_id"]: doc for doc in await self._by_ids(left.values(), projection) if "erased" not in doc}
            there = {name: docs[pass_id] for name, pass_id in left.items() if pass_id in docs}
            found |= {name: doc for name, doc in there.items() if "alias_of" not in doc}
            left = {name: doc["alias_of"] for name, doc in there.items() if "alias_of" in doc}
        return found

    async def survivor_id(self, pass_id: str) -> str | None:
        """The pass that this one was merged into; None where it was not. Index: _id."""
        docs = await self._by_ids([pass_id], {"alias_of": 1})
        return docs[0].get("alias_of") if docs else None

    async def aliases(self, pass_ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """By id, the passes that this one answers for, for those that answer for any.

        Index: {workspace, alias_of, alias}, asked once for each merge on the way to it.
        """
        heirs = {pass_id: pass_id for pass_id in pass_ids}
        found: dict[str, tuple[str, ...]] = {}
        while heirs:
            where = self._mine(alias_of=any_of(list(heirs)), alias={"$gte": 0})
            docs = await self._all.find(where, {"alias_of": 1}).to_list(None)
            heirs = {doc["_id"]: heirs[doc["alias_of"]] for doc in docs}
            for alias, heir in heirs.items():
                found[heir] = (*found.get(heir, ()), alias)
        return found

    async def insert(self, cards: Sequence[Pass]) -> set[int]:
        """Inserts what is not there yet; the positions of those whose external id (or id) was taken. Safe to repeat."""
        return await insert_new(self._all, [to_doc(card) for card in cards])

    async def page(self, span: PageRequest) -> Page[Pass]:
        """Passes, the newest first; key (created ms, id). Index: {workspace, created_at, _id}."""
        order = (("created_at", -1), ("_id", -1))
        return await page_of(
            self._all, self._mine(created_at=CREATED), order, by_instant(span), from_doc, LIST_PROJECTION
        )

    async def count(self) -> int:
        """How many passes the workspace has. Index: {workspace, created_at, _id}."""
        return await self._all.count_documents(self._mine(created_at=CREATED))

    async def members(self, segment_id: str, span: PageRequest) -> Page[Pass]:
        """The current members of a segment; key (pass id). Index: {workspace, memberships.s, _id}."""
        query = self._mine(**{"memberships.s": segment_id})
        by = ("workspace", "memberships.s")
        return await page_of(self._all, query, (("_id", 1),), span, from_doc, LIST_PROJECTION, by)

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
