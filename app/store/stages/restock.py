"""Reads of the restock stage, across workspaces. Only `workers` may import it."""

from __future__ import annotations

from app.store.mongo.queries import Database, ErrorTranslating

MAX_OLD_UNITS = 1_000
"""Old units that one look of the sweep reads, and old codes."""


class RestockQueries(ErrorTranslating):
    """Named queries of the restock stage. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database) -> None:
        self._collections = db["reward_units"], db["reward_codes"]

    async def waiting_workspaces(self, before_ms: int) -> list[str]:
        """Return workspaces with units or codes that were taken before an instant and not checked since.

        Index: {open, workspace} of both.
        """
        where = {"open": {"$gte": 0, "$lt": before_ms}}
        waiting: set[str] = set()
        for collection in self._collections:
            found = collection.find(where, {"workspace": 1, "_id": 0}).sort("open", 1).limit(MAX_OLD_UNITS)
            waiting |= {doc["workspace"] for doc in await found.to_list(None)}
        return sorted(waiting)
