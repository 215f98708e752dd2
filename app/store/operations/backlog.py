"""Size of the backlog of each stage, across workspaces. Operators see numbers, never contents."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.domain.ids import SLOTS
from app.store.mongo.queries import Collection, Database, Doc, ErrorTranslating
from app.store.workspace.activities import ActivityQueries

MAX_COUNTED = 10_000
"""Where counting stops: a larger figure does not change what an operator does."""
CONCURRENT_SLOTS = 4
MAX_ENDPOINTS = 100
"""Webhook endpoints with work whose delivery lag is computed."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Backlog of each stage. Figures stop at `MAX_COUNTED`, or a little above.

    `pending` counts events, `due`, `unpublished` and `parked` passes. `oldest_at` is the earliest `recorded_at` of the
    pending events counted. `backfills` counts workspaces, `jobs` unfinished jobs, `circuits_open` webhook endpoints,
    `deferred` messages. `delivery_lag` is a number of positions in the activity log.
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
        self._partitions, self._deliveries = db["webhook_lanes"], db["webhook_deliveries"]

    async def measure(self, elapsed_ms: int) -> Backlog:
        """Return the backlog now.

        `due` counts the passes that were due at or before `elapsed_ms` of the business clock.
        """
        pending, oldest_at = await self._pending()
        return Backlog(
            pending=pending,
            oldest_at=oldest_at,
            due=await _count(self._passes, {"due": {"$gte": 0, "$lte": elapsed_ms}}),
            unpublished=await _count(self._passes, {"pub": {"$gte": 0}}),
            parked=await _count(self._passes, {"parked": {"$gte": 0}}),
            backfills=await _count(self._workspaces, {"stale": {"$gte": 0}}),
            jobs=await _count(self._jobs, {"open": {"$gte": 0}}),
            circuits_open=await _count(self._partitions, {"away_since": {"$gte": 0}}),
            deferred=await _count(self._deliveries, {"due": {"$gte": 0}}),
            delivery_lag=await self._delivery_lag(),
        )

    async def _delivery_lag(self) -> int:
        """Return the largest lag among up to 100 webhook endpoints with work. Indexes: {at, free}, {workspace, pos}."""
        found = self._partitions.find({"at": {"$gte": 0}}, {"workspace": 1, "next": 1}).limit(MAX_ENDPOINTS)
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
    """Count the documents up to `MAX_COUNTED`.

    Indexes: {due, slot}, {pub, workspace}, {parked}, {stale}, {open, created_at}, {away_since}, {due}.
    """
    return await collection.count_documents(query, limit=MAX_COUNTED)
