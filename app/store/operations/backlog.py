"""How much waits at each stage, across workspaces: numbers for operators, never contents."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.domain.ids import SLOTS
from app.store.mongo.queries import Collection, Database, Doc, ErrorTranslating
from app.store.workspace.activities import ActivityQueries

MAX_COUNTED = 10_000
"""Where counting stops: past it, how much more it is says nothing that the figure has not said."""
CONCURRENT_SLOTS = 4
ENDPOINTS = 100
"""Of how many webhook endpoints with something to do it is asked how far they are."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits: events and passes up to `MAX_COUNTED`, or a little more. `oldest_at` is the earliest `recordedAt` seen.

    `away` are webhook endpoints, `aside` messages to them that wait for another try, `delivery_lag` positions of the log.
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


class BacklogQueries(ErrorTranslating):
    """Named queries of the operators' figures. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._events, self._passes = db["events"], db["passes"]
        self._workspaces, self._jobs = db["workspaces"], db["jobs"]
        self._lanes, self._deliveries = db["webhook_lanes"], db["webhook_deliveries"]

    async def measured(self, elapsed_ms: int) -> Backlog:
        """The backlog now; `due` is what was due at or before `elapsed_ms` of the business clock."""
        pending, oldest_at = await self._pending()
        return Backlog(
            pending,
            oldest_at,
            await _count(self._passes, {"due": {"$gte": 0, "$lte": elapsed_ms}}),
            await _count(self._passes, {"pub": {"$gte": 0}}),
            await _count(self._passes, {"parked": {"$gte": 0}}),
            await _count(self._workspaces, {"stale": {"$gte": 0}}),
            await _count(self._jobs, {"open": {"$gte": 0}}),
            await _count(self._lanes, {"away_since": {"$gte": 0}}),
            await _count(self._deliveries, {"due": {"$gte": 0}}),
            await self._delivery_lag(),
        )

    async def _delivery_lag(self) -> int:
        """How far behind its log the furthest of some webhook endpoints is. Indexes: {at, free}, {workspace, pos}."""
        found = self._lanes.find({"at": {"$gte": 0}}, {"workspace": 1, "next": 1}).limit(ENDPOINTS)
        low: dict[str, int] = {}
        async for doc in found:
            low[doc["workspace"]] = min(low.get(doc["workspace"], doc["next"][0]), *doc["next"])
        lag = 0
        for workspace_id, pos in low.items():
            queries = ActivityQueries(self._db, workspace_id, 1)
            lag = max(lag, await queries.last_pos(pos - 1) - pos + 1)
        return lag

    async def _pending(self) -> tuple[int, datetime | None]:
        """How many events wait, and since when. Index: {pend, pass, occurred_at, _id}."""
        total, oldest_at = 0, None
        # A few slots at a time: on the embedded server only a narrow range bounds what is read.
        for low in range(0, SLOTS, CONCURRENT_SLOTS):
            matching = {"pend": {"$gte": low, "$lt": low + CONCURRENT_SLOTS}}
            group: Doc = {"_id": None, "count": {"$sum": 1}, "oldest_at": {"$min": "$recorded_at"}}
            async for found in self._events.aggregate([{"$match": matching}, {"$group": group}]):
                total += found["count"]
                oldest_at = min(oldest_at or found["oldest_at"], found["oldest_at"])
            if total >= MAX_COUNTED:
                break
        return total, oldest_at


async def _count(collection: Collection, query: dict[str, Any]) -> int:
    """Indexes: {due, slot}, {pub, workspace}, {parked}, {stale}, {open, created_at}, {away_since}, {due}."""
    return await collection.count_documents(query, limit=MAX_COUNTED)
