"""Reads and writes of the worker that find messages whose announcement was lost, across workspaces."""

from __future__ import annotations

from app.store.mongo.queries import Database, Doc, ErrorTranslating

MAX_FOUND = 1_000


class MessageLooks(ErrorTranslating):
    """Named queries of the sweep about messages. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database) -> None:
        self._messages = db["messages"]

    async def overdue(self, until_ms: int) -> set[tuple[str, str]]:
        """Return (workspace, channel) of messages that were due by then: their announcement may be lost. Index: {due}."""
        found = self._messages.find({"due": {"$gte": 0, "$lte": until_ms}}, {"workspace": 1, "channel": 1})
        return _channels_of(await found.sort("due", 1).limit(MAX_FOUND).to_list(None))

    async def release_held(self, business_ms: int, now_ms: int) -> set[tuple[str, str]]:
        """Let messages be due whose quiet hours have ended by the business clock, and return their channels.

        Only a manual clock needs it: by the clock of the machine, such messages become due by themselves. Safe to repeat.
        Index: {held}.
        """
        where = {"held": {"$gte": 0, "$lte": business_ms}}
        docs = await self._messages.find(where, {"workspace": 1, "channel": 1}).limit(MAX_FOUND).to_list(None)
        ids = [doc["_id"] for doc in docs]
        if ids:
            change: Doc = {"$set": {"due": now_ms}, "$unset": {"held": ""}}
            await self._messages.update_many({"_id": {"$in": ids}, **where}, change)
        return _channels_of(docs)


def _channels_of(docs: list[Doc]) -> set[tuple[str, str]]:
    return {(doc["workspace"], doc["channel"]) for doc in docs}
