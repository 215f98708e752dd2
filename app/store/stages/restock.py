"""Reads of the restock stage, across workspaces. Only `workers` may import it."""

from __future__ import annotations

from app.store.mongo.queries import Database, ErrorTranslating

MAX_OLD_UNITS = 1_000
"""Old units that one look of the sweep reads."""


class RestockQueries(ErrorTranslating):
    """Named queries of the restock stage. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database) -> None:
        self._units = db["reward_units"]

    async def waiting_workspaces(self, before_ms: int) -> list[str]:
        """Return workspaces with units that were taken before an instant and not checked since. Index: {open, workspace}."""
        where = {"open": {"$gte": 0, "$lt": before_ms}}
        found = self._units.find(where, {"workspace": 1, "_id": 0}).sort("open", 1).limit(MAX_OLD_UNITS)
        return sorted({doc["workspace"] for doc in await found.to_list(None)})
