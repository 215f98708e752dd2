"""Versions that a backfill has made superfluous: those of segments are kept for readers, all others are deleted.

Workers read all versions in `definitions`, so a version that no pass needs must not stay there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from app.domain.ids import SLOTS
from app.domain.values.instants import to_ms
from app.store.mongo.queries import Database, Doc, StageQueries, insert_new

from .fold import ALL_SLOTS, behind, is_small_workspace

MAX_KEPT_VERSIONS = 1_000
"""Replaced versions of one segment that are kept for readers; older ones are deleted."""


class SupersededQueries(StageQueries):
    """Named queries over the versions of definitions, after a backfill. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int) -> None:
        super().__init__(db, in_chunk)
        self._passes, self._definitions = db["passes"], db["definitions"]
        self._replaced = db["replaced_versions"]

    async def count_members(self, workspace_id: str, revision: int) -> None:
        """Store the number of members under the newest version of each segment that has none yet. Safe to repeat.

        Call it when no pass was last evaluated before `revision`. Versions that earlier versions of Punchcard stored get no
        number. Indexes: {workspace, rev}, {workspace, memberships.s, _id}, _id.
        """
        newest: dict[str, Doc] = {}
        projection = {"segment": 1, "origin": 1, "members_after": 1}
        where = {"workspace": workspace_id, "rev": {"$gte": 0, "$lte": revision}}
        for doc in await self._definitions.find(where, projection).sort("rev", 1).to_list(None):
            if "segment" in doc:
                newest[doc["segment"]] = doc
        uncounted = [doc for doc in newest.values() if "origin" in doc and "members_after" not in doc]
        counts = await asyncio.gather(
            *(
                self._passes.count_documents({"workspace": workspace_id, "memberships.s": doc["segment"]})
                for doc in uncounted
            )
        )
        for doc, count in zip(uncounted, counts, strict=True):
            await self._definitions.update_one({"_id": doc["_id"]}, {"$set": {"members_after": count}})

    async def drop_versions(self, workspace_id: str, revision: int, until_ms: int) -> None:
        """Remove the versions that others replaced by `until_ms`, at or before a revision, and that no pass needs.

        A pass needs the versions in force at the revision that it was last evaluated under; parked passes too. Versions of
        segments are moved to `replaced_versions`, up to `MAX_KEPT_VERSIONS` of each; others are deleted. Safe to
        repeat. Three round trips if nothing is to be removed and the workspace is small. Index: {workspace, slot, rev}.
        """
        slots = [ALL_SLOTS] if await is_small_workspace(self._passes, workspace_id) else range(SLOTS)
        for slot in slots:
            where = behind(workspace_id, revision, slot)
            oldest = await self._passes.find_one(where, {"rev": 1}, sort=[("rev", 1)])
            revision = revision if oldest is None else int(oldest["rev"])
        query = {"workspace": workspace_id, "rev": {"$gte": 0, "$lte": revision}}
        docs = await self._definitions.find(query, {"segment": 1, "subject": 1, "at": 1}).sort("rev", 1).to_list(None)
        replaced_ids, newest_ids = [], dict[str, str]()
        for doc in docs:
            subject = doc["segment"] if "segment" in doc else doc["subject"]
            if subject in newest_ids and to_ms(doc["at"]) <= until_ms:
                replaced_ids.append(newest_ids[subject])
            newest_ids[subject] = doc["_id"]
        for start in range(0, len(replaced_ids), self._in_chunk):
            await self._move(replaced_ids[start : start + self._in_chunk])

    async def _move(self, ids: Sequence[str]) -> None:
        docs = await self._definitions.find({"_id": {"$in": list(ids)}}).to_list(None)
        kept = [doc for doc in docs if "segment" in doc]
        # A version is copied before it is deleted: a crash in between leaves it twice, and readers show it once.
        await insert_new(self._replaced, kept)
        await self._definitions.delete_many({"_id": {"$in": list(ids)}})
        latest = {doc["segment"]: doc for doc in sorted(kept, key=lambda doc: int(doc["rev"]))}
        for segment_id, doc in latest.items():
            too_old = {"$lte": doc["version"] - MAX_KEPT_VERSIONS}
            where = {"workspace": doc["workspace"], "segment": segment_id, "version": too_old}
            if doc["version"] > MAX_KEPT_VERSIONS:
                await self._replaced.delete_many(where)
