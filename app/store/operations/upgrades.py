"""Upgrades of stored data that a version of Punchcard reads in another way than the one before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial

from app.domain.definitions import Definitions
from app.domain.segments.restating import changes_meaning, restate
from app.domain.segments.segments import SILENT, DefinitionKind, Version
from app.domain.segments.workspace_versions import WORKSPACE_SETTINGS, WorkspaceVersion
from app.domain.values.conditions import MEANING
from app.domain.values.zones import TZDATA_VERSION
from app.store.mongo.queries import Database, ErrorTranslating
from app.store.workspace.rollup_heads import IS_DIRTY
from app.store.workspace.workspace import Workspace

from .rollup_marking import RollupMarking

_DONE = "meaning_of_conditions"
"""The document in `constants` with the meaning that all definitions were brought to."""
_READING = "react_reads_on"
"""The document in `constants` that says that react has a position in every workspace of an earlier version."""
_HISTORIES = "segment_histories"
"""The document in `constants` that says that the history of segments is written in every workspace of an earlier version."""
_FLAGS = "flags_of_dirty_heads"
"""The document in `constants` that says that every head with a mark has the flag by which it is found."""
_TIME_ZONES = "time_zones"
"""The document in `constants` with the version of the time zone data that the settings of all workspaces have."""
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

    async def lacks_flags(self) -> bool:
        """Return whether heads with a mark may lack the flag by which they are found. Index: _id."""
        return not await self._has_flags() and await self._db["rollup_heads"].find_one({}, {"_id": 1}) is not None

    async def flag_dirty_heads(self) -> None:
        """Give each head with a mark the flag by which it is found, as schema version 4 did not.

        Call it when no process of that version writes. It reads all heads. A call after the first takes one round trip. Safe
        to run from several processes at once. Index: _id.
        """
        if await self._has_flags():
            return
        lacking = {"dirty": {"$gte": 0}, IS_DIRTY: {"$exists": False}}
        await self._db["rollup_heads"].update_many(lacking, {"$set": {IS_DIRTY: 1}})
        await self._db["constants"].update_one({"_id": _FLAGS}, {"$set": {"value": 1}}, upsert=True)

    async def _has_flags(self) -> bool:
        return await self._db["constants"].find_one({"_id": _FLAGS}) is not None

    async def mark_hours(self, report: Callable[[str, int], None] = lambda workspace_id, count: None) -> None:
        """Mark the hours of all events in workspaces of an earlier version. Call it when none of its processes writes.

        Until a workspace is complete, its questions are answered from the events. `report` is called with the workspace and
        the number of its hours that are marked. A crash repeats the workspace that it interrupted. Safe to run from several
        processes at once. Index: _id, and those of `RollupMarking`.
        """
        marking = RollupMarking(self._db, self._in_chunk, is_sharded=self._is_sharded)
        for workspace_id in await marking.unmarked_workspaces():
            await marking.note_made_events(workspace_id)
            await marking.mark_hours_with_events(workspace_id, report=partial(report, workspace_id))
            await marking.complete_workspace(workspace_id)

    async def renew_time_zones(self, now: datetime) -> int:
        """Store the settings of each workspace anew if this process has other time zone data, and return their number.

        Definitions on local time are then evaluated by it. The changes that this causes are silent. Safe to run from
        several processes at once. A call without other data takes one round trip. Indexes: _id, {workspace, subject, rev}.
        """
        done = await self._db["constants"].find_one({"_id": _TIME_ZONES})
        if done is not None and done["value"] == TZDATA_VERSION:
            return 0
        renewed, last_id = 0, ""
        while ids := await self._workspaces_after(last_id):
            for workspace_id in ids:
                renewed += await _renew_settings(Workspace(self._db, workspace_id, self._in_chunk), now)
            last_id = ids[-1]
        await self._db["constants"].update_one({"_id": _TIME_ZONES}, {"$set": {"value": TZDATA_VERSION}}, upsert=True)
        return renewed

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
                inherits_zone=before.inherits_zone,
                zone_field=before.zone_field,
                archived=False,
                notify=SILENT,
                at=max(now, definitions.versions[-1].at),
            )
            # Another process may have taken the revision. The definitions are then read again.
            restated += await workspace.definitions.insert(version)


async def _renew_settings(workspace: Workspace, now: datetime) -> bool:
    """Store the settings of a workspace with the time zone data of this process; False if they have them, or are none."""
    while True:
        before = await workspace.definitions.latest(DefinitionKind.WORKSPACE, WORKSPACE_SETTINGS)
        if not isinstance(before, WorkspaceVersion) or before.tzdata == TZDATA_VERSION:
            return False
        latest = (await workspace.definitions.summaries())[-1]
        version = replace(
            before,
            revision=latest.revision + 1,
            version=before.version + 1,
            at=max(now, latest.at),
            tzdata=TZDATA_VERSION,
        )
        # Another call may have taken the revision. The definitions are then read again.
        if await workspace.definitions.insert(version):
            return True
