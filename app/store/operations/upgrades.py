"""Upgrades of stored data that a version of Punchcard reads in another way than the one before."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from app.domain.definitions import Definitions
from app.domain.segments.restating import changes_meaning, restate
from app.domain.segments.segments import SILENT, Version
from app.domain.values.conditions import MEANING
from app.store.mongo.queries import Database, ErrorTranslating
from app.store.workspace.workspace import Workspace

_DONE = "meaning_of_conditions"
"""The document in `constants` with the meaning that all definitions were brought to."""
_READING = "react_reads_on"
"""The document in `constants` that says that react has a position in every workspace of an earlier version."""
_HISTORIES = "segment_histories"
"""The document in `constants` that says that the history of segments is written in every workspace of an earlier version."""
_WORKSPACES_READ = 1_000
"""Workspaces that are read at once."""


class Upgrades(ErrorTranslating):
    """Upgrades of stored data, across workspaces. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int, *, is_sharded: bool = False) -> None:
        self._db, self._in_chunk, self._is_sharded = db, in_chunk, is_sharded

    async def restate_segments(self, now: datetime) -> int:
        """Store a new version of each live segment whose criteria mean something else today; return their number.

        The backfill then evaluates all passes again. The entries and exits that follow are silent. Safe to run from
        several processes at once. A call after the first takes one round trip. Index: _id.
        """
        done = await self._db["constants"].find_one({"_id": _DONE})
        if done is not None and done["value"] >= MEANING:
            return 0
        restated, last_id = 0, ""
        while ids := await self._workspaces_after(last_id):
            for workspace_id in ids:
                restated += await self._restate_workspace(Workspace(self._db, workspace_id, self._in_chunk), now)
            last_id = ids[-1]
        await self._db["constants"].update_one({"_id": _DONE}, {"$max": {"value": MEANING}}, upsert=True)
        return restated

    async def start_reactions(self, now_ms: int) -> None:
        """Let react begin at the present end of each log, of whose entries nothing follows. Call it before the first fold.

        In workspaces that are created later, react begins at the start of the log. Safe to run from several processes at
        once. A call after the first takes one round trip. Index: _id.
        """
        if await self._db["constants"].find_one({"_id": _READING}) is not None:
            return
        last_id = ""
        while ids := await self._workspaces_after(last_id):
            for workspace_id in ids:
                workspace = Workspace(self._db, workspace_id, self._in_chunk)
                await workspace.reactions.start_after(await workspace.activities.last_pos(), now_ms)
            last_id = ids[-1]
        await self._db["constants"].update_one({"_id": _READING}, {"$set": {"value": 1}}, upsert=True)

    async def build_histories(self, report: Callable[[str], None] = lambda workspace_id: None) -> None:
        """Write the history of segments from the logs of an earlier version. Call it before the first publish.

        `report` is called with each workspace that is done. A crash repeats little. Safe to run from several processes at
        once. A call after the first takes one round trip. Index: _id, and those of `SegmentHistory.follow`.
        """
        if await self._db["constants"].find_one({"_id": _HISTORIES}) is not None:
            return
        last_id = ""
        while ids := await self._workspaces_after(last_id):
            for workspace_id in ids:
                workspace = Workspace(self._db, workspace_id, self._in_chunk, is_sharded=self._is_sharded)
                await workspace.history.follow(await workspace.activities.last_pos())
                report(workspace_id)
            last_id = ids[-1]
        await self._db["constants"].update_one({"_id": _HISTORIES}, {"$set": {"value": 1}}, upsert=True)

    async def _workspaces_after(self, last_id: str) -> list[str]:
        found = self._db["workspaces"].find({"_id": {"$gt": last_id}}, {"_id": 1}).sort("_id", 1)
        return [doc["_id"] for doc in await found.limit(_WORKSPACES_READ).to_list(None)]

    async def _restate_workspace(self, workspace: Workspace, now: datetime) -> int:
        restated = 0
        while True:
            definitions = Definitions(await workspace.definitions.versions())
            live = (each for each in definitions.latest().values() if isinstance(each, Version) and not each.archived)
            before = next((each for each in live if changes_meaning(each.criteria)), None)
            if before is None:
                return restated
            version = Version(
                segment_id=before.segment_id,
                revision=definitions.revision + 1,
                version=before.version + 1,
                criteria=restate(before.criteria),
                timezone=before.timezone,
                archived=False,
                notify=SILENT,
                at=max(now, definitions.versions[-1].at),
            )
            # Another process may have taken the revision. The definitions are then read again.
            restated += await workspace.definitions.insert(version)
