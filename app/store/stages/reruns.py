"""Reads and writes of the rerun stage, which runs failed messages of inbound hooks again. Only `workers` may import it."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.inbound.deliveries import rerun_delay_seconds
from app.store.mongo.horizons import Horizon, read_soonest
from app.store.mongo.queries import Database, ErrorTranslating


@dataclass(frozen=True, slots=True)
class DueRerun:
    """Message that is due to be run again: its workspace, and the number of reruns that have begun so far."""

    delivery_id: str
    workspace_id: str
    reruns: int


class RerunQueries(ErrorTranslating):
    """Named queries of the rerun stage. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database) -> None:
        self._deliveries = db["inbound_deliveries"]
        self._horizon = Horizon()

    async def waiting(self, now_ms: int, limit: int) -> list[str]:
        """Return messages that are due to be run again, the longest due first. Index: {due}."""
        docs, horizon = await read_soonest(
            self._deliveries, {}, "due", {"due": 1}, limit=limit, horizon=self._horizon, end_ms=now_ms
        )
        self._horizon = horizon.after([doc["due"] for doc in docs], limit, now_ms)
        return [doc["_id"] for doc in docs]

    async def claim(self, delivery_id: str, now_ms: int) -> DueRerun | None:
        """Claim one rerun of a message and return it; None if the message is not due, or another worker claimed it.

        The claim sets the time of the next rerun. So if the worker crashes, the message is run again then, and a message
        that makes each worker crash is run less and less often. Index: _id.
        """
        doc = await self._deliveries.find_one({"_id": delivery_id}, {"workspace": 1, "due": 1, "reruns": 1})
        if doc is None or not 0 <= doc.get("due", -1) <= now_ms:
            return None
        reruns = doc.get("reruns", 0) + 1
        change = {"due": now_ms + rerun_delay_seconds(reruns) * 1_000, "reruns": reruns}
        claimed = await self._deliveries.update_one({"_id": delivery_id, "due": doc["due"]}, {"$set": change})
        return DueRerun(delivery_id, doc["workspace"], reruns) if claimed.matched_count else None
