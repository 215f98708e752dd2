"""Named query: up to which instant the history of a workspace is complete."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from app.domain.activities import TRANSITIONS
from app.domain.ids import SLOTS
from app.domain.values.instants import from_ms, to_ms
from app.store.mongo.queries import Collection, Database, Doc, WorkspaceQueries

from .definitions import DefinitionQueries
from .segment_history import SegmentHistory

MAX_PENDING_READ = 1_000
"""Pending events that are compared with their passes. If more are pending, the earliest of them counts."""
_MILLISECOND = timedelta(milliseconds=1)


class ProgressQueries(WorkspaceQueries):
    """Progress of the stages in one workspace. Errors: Unavailable, safe to repeat."""

    collection = "passes"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int, *, is_sharded: bool = False) -> None:
        super().__init__(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self._events, self._activities, self._workspaces = db["events"], db["activities"], db["workspaces"]
        self._definitions = DefinitionQueries(db, workspace_id, in_chunk)
        self._history = SegmentHistory(db, workspace_id, in_chunk)

    async def computed_through(self, now: datetime) -> datetime:
        """Return the last instant, `now` at most, up to which every transition is in the history of segments.

        It lies 1 ms before the first instant that waits to be walked or published. Parked passes are left out. Read the
        intervals after this call. Seven reads where nothing waits. Indexes: {pend, workspace, pass, occurred_at, _id},
        {due, slot}, {workspace, pub}, {workspace, type, pos}, _id; during a backfill {workspace, rev} twice.
        """
        # In the order of the stages: what has left one of them is found in the next, or in the history.
        found = [
            *await asyncio.gather(self._first_pending(), self._first_behind(), self._first_due(now)),
            await self._first_unpublished(),
            await self._first_unwritten(),
        ]
        return min([now, *(each - _MILLISECOND for each in found if each is not None)])

    async def _first_pending(self) -> datetime | None:
        """Return the earliest effective instant of the pending events, or an earlier one."""
        # Conditions outside the index are a stage of their own, as in `PassQueries.is_evaluated_until`.
        matching: Doc = {"$match": {"pend": {"$gte": 0, "$lt": SLOTS}, **self._in_workspace()}}
        fields: Doc = {"$project": {"pass": 1, "occurred_at": 1, "recorded_at": 1}}
        docs = await self._events.aggregate([matching, {"$limit": MAX_PENDING_READ + 1}, fields]).to_list(None)
        if len(docs) > MAX_PENDING_READ:
            return await self._earliest(self._events, [matching], "$occurred_at")
        cards = await self._by_ids([doc["pass"] for doc in docs], {"at": 1})
        reached = {card["_id"]: from_ms(card["at"]) for card in cards}
        return min((_effective(doc, reached.get(doc["pass"])) for doc in docs), default=None)

    async def _first_behind(self) -> datetime | None:
        """Return the earliest instant from which a pass waits for a backfill, or an earlier one.

        Without a backfill, passes may lag behind versions of rules and rewards, and no segment changes with those.
        """
        workspace = await self._workspaces.find_one({"_id": self._workspace_id}, {"stale": 1})
        if workspace is None or "stale" not in workspace:
            return None
        stages: list[Doc] = [
            {"$match": self._in_workspace(rev={"$gte": 0, "$lt": int(workspace["stale"])})},
            {"$sort": {"rev": 1}},
            {"$match": {"slot": {"$gte": 0}, "parked": {"$exists": False}}},
            {"$limit": 1},
            {"$project": {"rev": 1}},
        ]
        docs = await self._collection.aggregate(stages).to_list(None)
        if not docs:
            return None
        versions = await self._definitions.versions(int(docs[0]["rev"]))
        return next((version.at for version in versions if version.announces_backfill), None)

    async def _first_due(self, now: datetime) -> datetime | None:
        due: list[Doc] = [
            {"$match": {"due": {"$gte": 0, "$lt": to_ms(now) + 1}}},
            {"$match": {**self._in_workspace(), "parked": {"$exists": False}}},
        ]
        return await self._earliest(self._collection, due, "$due")

    async def _first_unpublished(self) -> datetime | None:
        waiting: list[Doc] = [
            {"$match": self._in_workspace(pub={"$gte": 0})},
            {"$unwind": "$out"},
            {"$match": {"out.type": {"$in": sorted(TRANSITIONS)}}},
        ]
        return await self._earliest(self._collection, waiting, "$out.at")

    async def _first_unwritten(self) -> datetime | None:
        after = await self._history.position()
        found = [
            await self._earliest(
                self._activities, [{"$match": self._in_workspace(type=kind, pos={"$gt": after})}], "$occurred_at"
            )
            for kind in sorted(TRANSITIONS)
        ]
        return min((each for each in found if each is not None), default=None)

    async def _earliest(self, collection: Collection, stages: Sequence[Doc], field: str) -> datetime | None:
        """Return the least value of an instant among the documents that the stages leave."""
        group: Doc = {"$group": {"_id": None, "at": {"$min": field}}}
        docs = await collection.aggregate([*stages, group]).to_list(None)
        if not docs:
            return None
        at = docs[0]["at"]
        return at if isinstance(at, datetime) else from_ms(at)


def _effective(doc: Doc, reached: datetime | None) -> datetime:
    """Return the instant at which a pending event counts at the earliest, in a pass that is evaluated until `reached`."""
    occurred: datetime = doc["occurred_at"]
    if reached is None or occurred > reached:
        return occurred
    recorded: datetime = doc["recorded_at"]
    return max(recorded, reached)
