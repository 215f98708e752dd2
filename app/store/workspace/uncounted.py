"""Named queries over the recorded events that their passes have not counted yet."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from app.domain.events.events import TOMBSTONES
from app.domain.ids import SLOTS, slot_of
from app.domain.values.instants import EARLIEST
from app.store.mongo.queries import Database, Doc, WorkspaceQueries, in_chunks

from .counted_events import PASSES_PER_READ
from .waiting import Waiting, find_parked

MAX_UNCOUNTED = 10_000
"""Uncounted events of one kind that are counted."""


class UncountedQueries(WorkspaceQueries):
    """Uncounted events of one workspace. Errors: Unavailable, safe to repeat.

    Tombstones are left out: `RemovalQueries.pending` counts them.
    """

    collection = "events"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int, *, is_sharded: bool = False) -> None:
        super().__init__(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self._passes = db["passes"]

    async def of_pass(self, pass_id: str) -> Waiting:
        """Return the uncounted events of a pass, also while it is parked.

        Indexes: _id of the passes; {pend, workspace, pass, occurred_at, _id}, or {workspace, pass, occurred_at, _id} for a
        parked pass.
        """
        card = await self._passes.find_one(self._by_id(pass_id), {"parked": 1})
        if card is not None and "parked" in card:
            return _sum(await self._parked([pass_id]))
        return _sum(await self._aggregate({"pend": slot_of(pass_id), **self._in_workspace(**{"pass": pass_id})}))

    async def of_workspace(self) -> Waiting:
        """Return the uncounted events of all passes, parked ones included.

        Counts up to 10,000, and as many of parked passes. Indexes: {pend, workspace, pass, occurred_at, _id}, {parked} of
        the passes, {workspace, pass, occurred_at, _id}.
        """
        pass_ids = await find_parked(self._passes, self._in_workspace())
        pending, parked = await asyncio.gather(
            self._aggregate({"pend": {"$gte": 0, "$lt": SLOTS}, **self._in_workspace()}),
            in_chunks(self._parked, pass_ids, min(self._in_chunk, PASSES_PER_READ)),
        )
        return _sum([*pending, *parked])

    async def _parked(self, pass_ids: Sequence[str]) -> list[Doc]:
        where = self._in_workspace(**{"pass": {"$in": list(pass_ids)}, "occurred_at": {"$gte": EARLIEST}})
        return await self._aggregate(where, {"pend": {"$lt": 0}})

    async def _aggregate(self, indexed: Doc, *conditions: Doc) -> list[Doc]:
        stages: list[Doc] = [
            {"$match": indexed},
            {"$match": {"$and": [*conditions, {"type": {"$nin": sorted(TOMBSTONES)}}]}},
            {"$limit": MAX_UNCOUNTED},
            {"$group": {"_id": None, "n": {"$sum": 1}, "at": {"$min": "$recorded_at"}}},
        ]
        return await self._collection.aggregate(stages).to_list(None)


def _sum(docs: Sequence[Doc]) -> Waiting:
    return Waiting(sum(int(doc["n"]) for doc in docs), min((doc["at"] for doc in docs), default=None))
