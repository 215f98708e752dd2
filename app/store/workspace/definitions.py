"""Named queries over the definitions of one workspace: one document for each version of a definition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from app.domain.definitions import DefinitionVersion
from app.domain.segments.segments import DefinitionKind, VersionSummary
from app.domain.tiers.programs import TierProgramVersion
from app.store.codecs.definitions import (
    definition_from_doc,
    definition_to_doc,
    has_summary,
    summary_from_doc,
    summary_of_whole,
)
from app.store.mongo.queries import Database, Doc, WorkspaceQueries, in_chunks, insert_new

_CONTENT = ("criteria", "tiers", "rule", "reward")
"""Fields of definitions that summaries leave out, because they may be large."""


class DefinitionQueries(WorkspaceQueries):
    """Definitions of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "definitions"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int) -> None:
        super().__init__(db, workspace_id, in_chunk)
        self._workspaces = db["workspaces"]

    async def versions(self, after_rev: int = 0) -> list[DefinitionVersion]:
        """Return the versions after a revision, oldest first. Index: {workspace, rev}."""
        docs = await self._collection.find(self._in_workspace(rev={"$gt": after_rev})).sort("rev", 1).to_list(None)
        return [definition_from_doc(doc) for doc in docs]

    async def latest(self, kind: DefinitionKind, subject_id: str) -> DefinitionVersion | None:
        """Return the latest version of a definition that is no segment, or None. Index: {workspace, subject, rev}."""
        query = self._in_workspace(subject=subject_id, kind=kind.value)
        doc = await self._collection.find_one(query, sort=[("subject", -1), ("rev", -1)])
        return None if doc is None else definition_from_doc(doc)

    async def tier_programs(self, subject_ids: Iterable[str]) -> dict[str, TierProgramVersion]:
        """Return the latest version of the tier program, by its id. Index: {workspace, subject, rev}."""
        found = {each: await self.latest(DefinitionKind.TIERS, each) for each in subject_ids}
        return {key: version for key, version in found.items() if isinstance(version, TierProgramVersion)}

    async def summaries(self) -> list[VersionSummary]:
        """Return the versions that are kept without their criteria, oldest first. Index: {workspace, rev}.

        One round trip, and a second one for versions that earlier versions of Punchcard stored without a summary.
        """
        projection = dict.fromkeys(_CONTENT, 0)
        docs = await self._collection.find(self._in_workspace(), projection).sort("rev", 1).to_list(None)
        found = {doc["_id"]: summary_from_doc(doc) for doc in docs if has_summary(doc)}
        if len(found) < len(docs):
            missing = [doc["_id"] for doc in docs if doc["_id"] not in found]

            async def find_chunk(chunk: Sequence[str]) -> list[Doc]:
                return await self._collection.find({"_id": {"$in": list(chunk)}}).to_list(None)

            whole = await in_chunks(find_chunk, missing, self._in_chunk)
            found |= {doc["_id"]: summary_of_whole(doc) for doc in whole}
        return sorted(found.values(), key=lambda summary: summary.revision)

    async def highest_rev(self, at: datetime | None = None) -> int:
        """Return the workspace's highest revision; 0 before the first definition. Index: {workspace, rev}.

        With `at`, return the highest one that was in force at that instant.
        """
        where = self._in_workspace() if at is None else self._in_workspace(at={"$lte": at})
        doc = await self._collection.find_one(where, {"rev": 1}, sort=[("rev", -1)])
        return 0 if doc is None else int(doc["rev"])

    async def insert(self, version: DefinitionVersion) -> bool:
        """Insert a version and return whether it was stored: False if its revision is taken. Index: {workspace, rev}.

        A revision that backfill serves is announced first. The backfill removes the announcement only after the revision
        exists and no pass lags behind it. So a crash between the two writes loses nothing.
        """
        if version.announces_backfill:
            await self._workspaces.update_one({"_id": self._workspace_id}, {"$max": {"stale": version.revision}})
        return not await insert_new(self._collection, [definition_to_doc(version, self._workspace_id)])
