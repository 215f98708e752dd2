"""Rollups for an operator: what is dirty, and marks on a period so that workers compute its rollups and sums anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.clock import system_ms
from app.domain.rollups.active_periods import ALL_PERIODS
from app.domain.rollups.levels import Level
from app.domain.rollups.marks import HeadKey
from app.domain.values.instants import from_ms, to_ms
from app.store.mongo.queries import Database, ErrorTranslating
from app.store.workspace.active_counts import mark_counts
from app.store.workspace.rollup_heads import IS_DIRTY, mark_heads

from .pass_months import mark_months
from .rollup_marking import RollupMarking

MAX_COUNTED = 10_000
"""Dirty periods at which counting stops."""
MAX_PASSES_COUNTED = 1_000_000
"""Dirty passes at which counting stops."""


@dataclass(frozen=True, slots=True)
class DirtyState:
    """Number of dirty hours, days and months, and the first instants of the earliest and of the latest one, in ms.

    `passes` are those whose sums by month are not computed yet.
    """

    number: int
    passes: int
    first_ms: int | None = None
    last_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Marked:
    """Number of hours with events, and of passes, that are marked."""

    hours: int = 0
    passes: int = 0

    def __add__(self, other: Marked) -> Marked:
        """Return the sum of both."""
        return Marked(self.hours + other.hours, self.passes + other.passes)


class RollupRebuild(ErrorTranslating):
    """Named queries for `punchcard rollups` and `punchcard restored`. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int, *, is_sharded: bool = False) -> None:
        self._db, self._in_chunk, self._is_sharded = db, in_chunk, is_sharded
        self._heads = db["rollup_heads"]
        self._marking = RollupMarking(db, in_chunk, is_sharded=is_sharded)

    async def dirty(self, workspace_id: str) -> DirtyState:
        """Return what is dirty in a workspace. Counting stops at MAX_COUNTED periods and MAX_PASSES_COUNTED passes.

        Indexes: {is_dirty, workspace, level, start}, {workspace, dirty_from} of the passes.
        """
        where = {IS_DIRTY: 1, "workspace": {"$in": [workspace_id]}}
        found = self._heads.find(where, {"_id": 0, "start": 1}).sort("start", -1)
        docs = await found.limit(MAX_COUNTED).to_list(None)
        marked = {"workspace": workspace_id, "dirty_from": {"$gte": 0}}
        passes = await self._db["passes"].count_documents(marked, limit=MAX_PASSES_COUNTED)
        if not docs:
            return DirtyState(0, passes)
        return DirtyState(len(docs), passes, first_ms=to_ms(docs[-1]["start"]), last_ms=to_ms(docs[0]["start"]))

    async def mark_all(
        self, workspace_id: str, low_ms: int, high_ms: int, report: Callable[[Marked], None] = lambda _: None
    ) -> Marked:
        """Mark what is computed from the events of [low_ms, high_ms): hours, days, months, and the months of passes.

        All numbers of active passes are marked, too. `report` is called with the numbers so far. Safe to repeat, also while
        workers run. Indexes: those of `mark_existing`, of `RollupMarking.mark_hours_with_events`, of `mark_months` and of
        `mark_counts`.
        """
        # An hour whose events are gone has a head, and no event by which it would be found.
        await self.mark_existing(workspace_id, low_ms, high_ms)
        hours = await self._marking.mark_hours_with_events(
            workspace_id, low_ms, high_ms, lambda count: report(Marked(hours=count))
        )
        passes = await mark_months(
            self._db, workspace_id, low_ms, high_ms, lambda count: report(Marked(hours, passes=count))
        )
        await mark_counts(self._db, workspace_id, {ALL_PERIODS}, system_ms(), is_sharded=self._is_sharded)
        return Marked(hours, passes)

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
