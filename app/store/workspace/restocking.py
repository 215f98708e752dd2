"""What the stage `restock` asks of units and of codes alike: those that it has not seen accepted yet are `open`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from pymongo import UpdateOne

from app.store.mongo.queries import Doc, WorkspaceQueries


class Open(Protocol):
    """Unit or code that the stage has not seen accepted yet."""

    @property
    def id(self) -> str:
        """The id of the unit or code."""

    @property
    def redemption_id(self) -> str | None:
        """The redemption that it names; None after an erasure."""


class RestockedQueries(WorkspaceQueries):
    """Units or codes of one workspace. Errors: Unavailable, safe to repeat."""

    async def close(self, taken: Iterable[Open]) -> None:
        """Let the stage `restock` check them no more. Index: _id."""
        await self._update(taken, {"$unset": {"open": ""}})

    async def postpone(self, taken: Iterable[Open], until_ms: int) -> None:
        """Let the stage `restock` check them later. Index: _id."""
        await self._update(taken, {"$set": {"open": until_ms}})

    async def _find_open(self, before_ms: int, limit: int) -> list[Doc]:
        """Return those that were taken or checked before an instant, the oldest first. Index: {open, workspace}."""
        where = self._in_workspace(open={"$gte": 0, "$lt": before_ms})
        return await self._collection.find(where).sort("open", 1).limit(limit).to_list(None)

    async def _update(self, taken: Iterable[Open], change: Doc) -> None:
        """Change those that still have the redemption with which they were read."""
        updates = [UpdateOne({"_id": each.id, "of": each.redemption_id}, change) for each in taken]
        if updates:
            await self._collection.bulk_write(updates, ordered=False)
