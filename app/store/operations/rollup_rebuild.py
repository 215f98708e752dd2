"""Rollups for an operator: what is dirty, and marks on the heads of a period so that workers compute it anew."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.rollups.levels import Level
from app.domain.rollups.marks import HeadKey
from app.domain.values.instants import from_ms, to_ms
from app.store.mongo.queries import Database, ErrorTranslating
from app.store.workspace.rollup_heads import mark_heads

MAX_COUNTED = 10_000
"""Dirty periods at which counting stops."""


@dataclass(frozen=True, slots=True)
class DirtyState:
    """Number of dirty hours, days and months, and the first instants of the earliest and of the latest one, in ms."""

    number: int
    first_ms: int
    last_ms: int


class RollupRebuild(ErrorTranslating):
    """Named queries for `punchcard rollups`. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int, *, is_sharded: bool = False) -> None:
        self._db, self._in_chunk, self._is_sharded = db, in_chunk, is_sharded
        self._heads = db["rollup_heads"]

    async def dirty(self, workspace_id: str) -> DirtyState | None:
        """Return what is dirty in a workspace, or None if nothing is. Counting stops at 10,000.

        Index: {workspace, start}.
        """
        where = {"workspace": workspace_id, "dirty": {"$gte": 0}}
        order = [("workspace", -1), ("start", -1)]
        docs = await self._heads.find(where, {"_id": 0, "start": 1}).sort(order).limit(MAX_COUNTED).to_list(None)
        if not docs:
            return None
        return DirtyState(len(docs), first_ms=to_ms(docs[-1]["start"]), last_ms=to_ms(docs[0]["start"]))

    async def mark_existing(self, workspace_id: str, low_ms: int, high_ms: int) -> int:
        """Mark the heads of all hours that begin in [low_ms, high_ms), with events or without; return their number.

        Also those of the days and months that contain them. Safe to repeat. Index: _id.
        """
        number = 0
        for level in Level:
            begin = from_ms(level.start_ms(low_ms))
            prefix = f"{workspace_id}|{level.value}|"
            # Behind the last number of an id comes nothing but the end of the text.
            where = {"_id": {"$gte": prefix, "$lt": f"{prefix}~"}}
            cursor = self._heads.find(where, {"start": 1}, batch_size=self._in_chunk)
            while docs := await cursor.to_list(self._in_chunk):
                keys = [
                    HeadKey(workspace_id, level, to_ms(doc["start"]))
                    for doc in docs
                    if begin <= doc["start"] < from_ms(high_ms)
                ]
                await mark_heads(self._db, keys, self._in_chunk, is_sharded=self._is_sharded)
                number += len(keys) if level is Level.HOUR else 0
        return number
