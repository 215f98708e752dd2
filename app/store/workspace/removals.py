"""Named queries over the tombstones of one workspace, and over the figures of erased passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.domain.events.events import Origin
from app.domain.events.tombstones import Erasure, Tombstone, merge_id, tombstone_id
from app.domain.values.instants import from_ms
from app.store.codecs.events import tombstone_to_doc
from app.store.codecs.passes import erased_from_doc
from app.store.mongo.queries import Collection, Database, Doc, WorkspaceQueries, insert_new


class RemovalQueries(WorkspaceQueries):
    """Removals of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "events"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int) -> None:
        super().__init__(db, workspace_id, in_chunk)
        self._passes, self._erasures = db["passes"], db["erasures"]

    async def insert(self, tombstones: Sequence[Tombstone], origin: Origin) -> set[int]:
        """Insert pending tombstones and return the indexes of those whose target has one already. Safe to repeat."""
        docs = [tombstone_to_doc(tombstone, self._workspace_id, origin) for tombstone in tombstones]
        return await insert_new(self._collection, docs)

    async def batches(self, target_ids: Sequence[str]) -> Mapping[str, str | None]:
        """Return by target the batch that requested its removal, for targets with a tombstone. Index: _id."""
        docs = await self._by_ids(map(tombstone_id, target_ids), {"removes": 1, "origin": 1})
        return {doc["removes"]: doc["origin"].get("batch") for doc in docs if "removes" in doc}

    async def merges(self, pass_id: str) -> list[str]:
        """Return the passes into which a pass is to be merged: its survivor, the survivor's survivor, and so on.

        Index: _id, one query for each.
        """
        found: list[str] = []
        while (doc := await self._find_one(self._collection, merge_id(found[-1] if found else pass_id))) is not None:
            found.append(doc["into"])
        return found

    async def merge_rank(self) -> int:
        """Return the rank of the workspace's latest merge; 0 before the first. Index: {workspace, merge}."""
        where = self._in_workspace(merge={"$gte": 0})
        doc = await self._collection.find_one(where, {"merge": 1}, sort=[("merge", -1)])
        return 0 if doc is None else int(doc["merge"])

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
        doc: Doc | None = await collection.find_one({"_id": id_})
        return doc if doc is not None and doc["workspace"] == self._workspace_id else None
