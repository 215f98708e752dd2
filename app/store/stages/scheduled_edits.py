"""Looks for scheduled edits across workspaces. Only `workers` may import it."""

from __future__ import annotations

from app.store.mongo.queries import Database, ErrorTranslating


class ScheduledEditLooks(ErrorTranslating):
    """Named queries of the stage schedule. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database) -> None:
        self._edits = db["scheduled_edits"]

    async def due(self, until_ms: int, limit: int) -> list[tuple[str, str]]:
        """Return (workspace id, segment id) of edits whose time has come, the longest due first. Index: {due}."""
        where = {"due": {"$gte": 0, "$lt": until_ms + 1}}
        docs = await self._edits.find(where, {"workspace": 1}).sort("due", 1).limit(limit).to_list(None)
        return [(doc["workspace"], doc["_id"]) for doc in docs]
