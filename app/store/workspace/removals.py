"""Named queries over what was removed from one workspace: tombstones, and what is known of erased passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.domain.events.events import Origin
from app.domain.events.tombstones import Erasure, Tombstone, merge_id, tombstone_id
from app.domain.values.instants import from_ms
from app.store.codecs.events import tombstone_doc
from app.store.codecs.passes import erased_from
from app.store.mongo.queries import Collection, Database, Doc, WorkspaceQueries, insert_new


class RemovalQueries(WorkspaceQueries):
    """Removals of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "events"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int) -> None:
        super().__init__(db, workspace_id, in_chunk)
        self._passes, self._erasures = db["passes"], db["erasures"]

    async def insert(self, tombstones: Sequence[Tombstone], origin: Origin) -> set[int]:
        """Inserts tombstones, pending; the positions of those whose target has one already. Safe to repeat."""
        docs = [tombstone_doc(tombstone, self._workspace_id, origin) for tombstone in tombstones]
        return await insert_new(self._all, docs)

    async def batches(self, target_ids: Sequence[str]) -> Mapping[str, str | None]:
        """By target, the batch that asked for its removal, for those that have a tombstone. Index: _id."""
        docs = await self._by_ids(map(tombstone_id, target_ids), {"removes": 1, "origin": 1})
        return {doc["removes"]: doc["origin"].get("batch") for doc in docs if "removes" in doc}

    async def merges(self, pass_id: str) -> list[str]:
        """The passes that this one is to become a part of: the next one, the one that that becomes a part of, and so on.

        Index: _id, once for each.
        """
        found: list[str] = []
        while (doc := await self._one(self._all, merge_id(found[-1] if found else pass_id))) is not None:
            found.append(doc["into"])
        return found

    async def merge_rank(self) -> int:
        """The rank of the latest merge of the workspace; 0 before the first. Index: {workspace, merge}."""
        where = self._mine(merge={"$gte": 0})
        doc = await self._all.find_one(where, {"merge": 1}, sort=[("merge", -1)])
        return 0 if doc is None else int(doc["merge"])

    async def erasure(self, pass_id: str) -> Erasure | None:
        """How far the erasure of a pass is; None where none was asked for, or there is no such pass. Index: _id."""
        done = await self._one(self._erasures, pass_id)
        left = done or await self._one(self._passes, pass_id)
        if left is not None and "erased" in left:
            erased = erased_from(left["erased"])
            return Erasure(
                pass_id,
                from_ms(erased.at_ms),
                erased.events,
                erased.aggregates,
                erased.segments,
                left["n"],
                done=done is not None,
            )
        asked = await self._one(self._all, tombstone_id(pass_id))
        return None if asked is None else Erasure(pass_id)

    async def _one(self, collection: Collection, id_: str) -> Doc | None:
        doc: Doc | None = await collection.find_one({"_id": id_})
        return doc if doc is not None and doc["workspace"] == self._workspace_id else None
