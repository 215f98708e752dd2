"""Size of the backlog of each stage, across workspaces. Operators see numbers, never contents."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.clock import system_ms
from app.domain.ids import SLOTS
from app.store.mongo.horizons import Horizon, read_soonest
from app.store.mongo.queries import Collection, Database, Doc, ErrorTranslating
from app.store.workspace.activities import ActivityQueries
from app.store.workspace.deliveries import LONGEST_RETRY_MS

MAX_COUNTED = 10_000
"""Where counting stops: a larger figure does not change what an operator does."""
CONCURRENT_SLOTS = 4
"""Slots that one query reads. In a long backlog, it reads one."""
MAX_ENDPOINTS = 100
"""Webhook endpoints with work whose delivery lag is computed."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Backlog of each stage. Figures stop at `MAX_COUNTED`, or a little above.

    `pending` counts events, `due`, `unpublished` and `parked` passes. `oldest_at` is the earliest `recorded_at` of the
    pending events counted. `backfills` counts workspaces, `jobs` unfinished jobs, `circuits_open` webhook endpoints,
    `deferred` messages. `delivery_lag` and `react_lag` are numbers of positions in the activity log. `parked_reactions`
    counts effects outside passes that were not made.
    """

    pending: int
    oldest_at: datetime | None
    due: int
    unpublished: int
    parked: int
    backfills: int
    jobs: int
    circuits_open: int
    deferred: int
    delivery_lag: int
    react_lag: int
    parked_reactions: int


class BacklogQueries(ErrorTranslating):
    """Named queries of the operators' figures. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._events, self._passes = db["events"], db["passes"]
        self._workspaces, self._jobs = db["workspaces"], db["jobs"]
        self._partitions, self._deliveries = db["webhook_lanes"], db["webhook_deliveries"]
        self._slots_at_once = CONCURRENT_SLOTS
        self._horizons: dict[str, Horizon] = {}
        """Where the next count of documents in order of an instant ends, by what it counts."""

    async def measure(self, elapsed_ms: int) -> Backlog:
        """Return the backlog now.

        `due` counts the passes that were due at or before `elapsed_ms` of the business clock.
        """
        pending, oldest_at = await self._pending()
        return Backlog(
            pending=pending,
            oldest_at=oldest_at,
            due=await self._count_soonest("due", self._passes, "due", elapsed_ms),
            unpublished=await self._count_soonest("unpublished", self._passes, "pub", system_ms()),
            parked=await _count(self._passes, {"parked": {"$gte": 0}}),
            backfills=await _count(self._workspaces, {"stale": {"$gte": 0}}),
            jobs=await _count(self._jobs, {"open": {"$gte": 0}}),
            circuits_open=await _count(self._partitions, {"away_since": {"$gte": 0}}),
            deferred=await self._count_soonest("deferred", self._deliveries, "due", system_ms() + LONGEST_RETRY_MS),
            delivery_lag=await self._lag(self._partitions),
            react_lag=await self._lag(self._db["react_lanes"]),
            parked_reactions=min(await self._db["parked_reactions"].estimated_document_count(), MAX_COUNTED),
        )

    async def _count_soonest(self, title: str, collection: Collection, name: str, end_ms: int) -> int:
        """Count the documents with an instant `name` by `end_ms`, up to `MAX_COUNTED`.

        A long backlog is examined whole by the first call only. Indexes: {due, slot}, {pub, workspace}, {due}.
        """
        docs, horizon = await read_soonest(
            collection, {}, name, {name: 1, "_id": 0}, limit=MAX_COUNTED,
            horizon=self._horizons.get(title, Horizon()), end_ms=end_ms,
        )  # fmt: skip
        self._horizons[title] = horizon.after([doc[name] for doc in docs], MAX_COUNTED, end_ms)
        return len(docs)

    async def _lag(self, readers: Collection) -> int:
        """Return the largest lag among up to 100 readers with work. Indexes: {at, free}, {workspace, pos}."""
        found = readers.find({"at": {"$gte": 0}}, {"workspace": 1, "next": 1}).limit(MAX_ENDPOINTS)
        lowest: dict[str, int] = {}
        async for doc in found:
            lowest[doc["workspace"]] = min(lowest.get(doc["workspace"], doc["next"][0]), *doc["next"])
        lag = 0
        for workspace_id, pos in lowest.items():
            queries = ActivityQueries(self._db, workspace_id, 1)
            lag = max(lag, await queries.last_pos(pos - 1) - pos + 1)
        return lag

    async def _pending(self) -> tuple[int, datetime | None]:
        """Count the pending events and return the count with the earliest `recorded_at`.

        Index: {pend, workspace, pass, occurred_at, _id}.
        """
        total, oldest_at = 0, None
        # Read a few slots at a time: on the embedded server, only a narrow range bounds what a query reads.
        step = self._slots_at_once
        for low in range(0, SLOTS, step):
            matching = {"pend": {"$gte": low, "$lt": low + step}}
            group: Doc = {"_id": None, "count": {"$sum": 1}, "oldest_at": {"$min": "$recorded_at"}}
            async for found in self._events.aggregate([{"$match": matching}, {"$group": group}]):
                total += found["count"]
                oldest_at = min(oldest_at or found["oldest_at"], found["oldest_at"])
            if total >= MAX_COUNTED:
                self._slots_at_once = 1
                return total, oldest_at
        self._slots_at_once = CONCURRENT_SLOTS
        return total, oldest_at


async def _count(collection: Collection, query: dict[str, Any]) -> int:
    """Count the documents up to `MAX_COUNTED`. Indexes: {parked}, {stale}, {open, created_at}, {away_since}."""
    return await collection.count_documents(query, limit=MAX_COUNTED)
