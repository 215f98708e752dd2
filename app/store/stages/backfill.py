"""Reads and writes of the backfill stage. Only `workers` may import them."""

from __future__ import annotations

from app.domain.values.instants import to_ms
from app.store.mongo.queries import Database, Doc, ErrorTranslating


class BackfillQueries(ErrorTranslating):
    """Named queries of the backfill stage. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int) -> None:
        self._passes, self._definitions = db["passes"], db["definitions"]
        self._in_chunk = in_chunk

    async def passes_behind(
        self, workspace_id: str, rev: int, limit: int, slot: int | None = None
    ) -> tuple[list[str], bool]:
        """Return passes that were last evaluated under a revision before `rev`, and whether there may be others.

        Parked passes are left out: after their release, the stage due evaluates them under the revisions they missed.
        The embedded server examines all passes that are behind. For one slot, these are a 64th. Indexes: {workspace,
        rev}; with a slot {workspace, slot, rev}.
        """
        query: Doc = {"workspace": workspace_id, "rev": {"$gte": 0, "$lt": rev}}
        if slot is not None:
            query["slot"] = slot
        found = self._passes.find(query, {"parked": 1}, batch_size=limit + 1).sort("rev", 1).limit(limit)
        docs = await found.to_list(None)
        return [doc["_id"] for doc in docs if "parked" not in doc], len(docs) == limit

    async def drop_versions(self, workspace_id: str, revision: int, until_ms: int) -> None:
        """Delete the versions that others replaced by `until_ms`, at or before a revision, and that no pass needs.

        A pass needs the versions in force at the revision that it was last evaluated under; parked passes too. Safe to
        repeat. Two round trips if nothing is to be deleted. Index: {workspace, rev}.
        """
        oldest = await self._passes.find_one(
            {"workspace": workspace_id, "rev": {"$gte": 0, "$lt": revision}}, {"rev": 1}, sort=[("rev", 1)]
        )
        revision = revision if oldest is None else int(oldest["rev"])
        query = {"workspace": workspace_id, "rev": {"$gte": 0, "$lte": revision}}
        docs = await self._definitions.find(query, {"segment": 1, "at": 1}).sort("rev", 1).to_list(None)
        replaced_ids, newest_ids = [], dict[str, str]()
        for doc in docs:
            if doc["segment"] in newest_ids and to_ms(doc["at"]) <= until_ms:
                replaced_ids.append(newest_ids[doc["segment"]])
            newest_ids[doc["segment"]] = doc["_id"]
        for start in range(0, len(replaced_ids), self._in_chunk):
            await self._definitions.delete_many({"_id": {"$in": replaced_ids[start : start + self._in_chunk]}})
