"""Reads of the forget stage, across workspaces. Only `workers` may import it."""

from __future__ import annotations

from app.store.mongo.queries import Database, ErrorTranslating

MAX_DOUBTED_WORDS = 1_000
"""Doubted words that one sweep looks at."""


class ForgetQueries(ErrorTranslating):
    """Named queries of the forget stage. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database) -> None:
        self._words = db["words"]

    async def waiting_workspaces(self) -> list[str]:
        """Return workspaces with doubted words. Index: {doubt, workspace}."""
        found = self._words.find({"doubt": {"$gte": 0}}, {"workspace": 1, "_id": 0}).limit(MAX_DOUBTED_WORDS)
        return sorted({doc["workspace"] for doc in await found.to_list(None)})
