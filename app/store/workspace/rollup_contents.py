"""Named queries that read heads and contents of rollups of one workspace."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import Any

from app.clock import system_ms
from app.domain.rollups.levels import Level
from app.domain.rollups.plans import Head, Period, PeriodPlan, SpanMs
from app.domain.rollups.rows import CountedRow
from app.domain.values.instants import DAY_MS, HOUR_MS, from_ms, to_ms
from app.store.codecs.rollups import ContentSum, content_ids, head_id, rows_from_docs
from app.store.mongo.queries import Database, Doc, WorkspaceQueries
from app.store.mongo.usage import charge_counted, charge_rows

ROWS_PER_TURN = 2_000
"""Rows that are computed without a pause. They take about 10 ms."""
CONTENTS_AT_ONCE = 400
"""Documents of contents that are in memory at once."""
PART_MS = 10_000 * HOUR_MS
"""Width of the first part of time whose dirty heads one read returns. After a part without any, the next one is wider."""
OLD_MS = 12 * 366 * DAY_MS
"""Age from which on all dirty heads are read at once: a question about all time begins in 1900."""
CELLS_PER_ROW = 25
"""Cells that are added up in the time in which one row is computed."""


class HeadQueries(WorkspaceQueries):
    """Heads of rollups of one workspace. Errors: Unavailable, safe to repeat.

    A content never changes, and the head of its period says whether it is valid.
    """

    collection = "rollup_heads"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int, *, is_sharded: bool = False) -> None:
        super().__init__(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self._workspaces = db["workspaces"]

    async def are_complete(self) -> bool:
        """Return whether each hour that has events has a head. Without one, an hour is read from events. Index: _id."""
        found = await self._workspaces.find_one({"_id": self._workspace_id}, {"marked": 1})
        return found is not None and bool(found.get("marked"))

    async def dirty(self, level: Level, span: SpanMs, limit: int) -> list[Period]:
        """Return the first `limit` dirty periods of a level that begin in a span, in order of time.

        It reads the span in parts, so that it hardly reads more heads than it returns: the embedded servers read all heads
        of a query before they apply a limit. One read for a year, four for ten years without dirty periods.
        Index: {is_dirty, workspace, level, start}.
        """
        found: list[Period] = []
        low_ms, width_ms = span[0], PART_MS
        old_ms = system_ms() - OLD_MS
        while low_ms < span[1] and len(found) < limit:
            high_ms = min(span[1], max(low_ms + width_ms, old_ms))
            part = await self._dirty_in(level, (low_ms, high_ms), limit - len(found))
            found += part
            low_ms, width_ms = high_ms, PART_MS if part else width_ms * 3 // 2
        return found

    async def _dirty_in(self, level: Level, span: SpanMs, limit: int) -> list[Period]:
        starts = {"$gte": from_ms(span[0]), "$lt": from_ms(span[1])}
        where = self._in_workspace(is_dirty=1, level=level.value, start=starts)
        # For secantusd-py, one document with all starts is a sixth cheaper than a document for each head.
        starts_only: Doc = {"$group": {"_id": None, "starts": {"$push": "$start"}}}
        stages: list[Doc] = [{"$match": where}, {"$sort": {"start": 1}}, {"$limit": limit}, starts_only]
        docs = await self._collection.aggregate(stages).to_list(None)
        return [Period(level, start_ms) for doc in docs for start_ms in sorted(map(to_ms, doc["starts"]))]

    async def month_heads(self) -> dict[Period, Head]:
        """Return the heads of all months that have one. Index: {level, workspace}."""
        docs = await self._collection.find(self._in_workspace(level=Level.MONTH.value)).to_list(None)
        return {_period_of(doc): head_from_doc(doc) for doc in docs}

    async def heads(self, periods: Collection[Period]) -> dict[Period, Head]:
        """Return the heads of those of the periods that have one. Index: _id."""
        docs = await self._by_ids(head_id(self._workspace_id, *period) for period in periods)
        charge_counted(len(docs), examined=True)
        return {_period_of(doc): head_from_doc(doc) for doc in docs}


class ContentQueries(WorkspaceQueries):
    """Contents of rollups of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "rollups"

    async def rows(self, plan: PeriodPlan, contents: Mapping[Period, Head]) -> list[CountedRow] | None:
        """Return the rows of a plan from contents; None if one was deleted, because a newer one replaces it. Index: _id.

        With a clock, contents of the same pattern are added up while they are read. So neither the rows nor the memory grow
        with the length of the period. The operation is charged while rows are computed. Raises OperationTooLarge or
        Throttled.
        """
        periods = {
            each: period
            for period, head in contents.items()
            for each in content_ids(self._workspace_id, *period, token=head.token, kinds=plan.documents(head))
        }
        ids, rows, work = list(periods), list[CountedRow](), _Work()
        sums: dict[Hashable, tuple[Period, ContentSum]] = {}

        def select(period: Period, found: Iterable[CountedRow]) -> int:
            before = len(rows)
            rows.extend(row for row in found if plan.has_row(period, row.start_ms) and plan.selection.selects(row))
            return len(rows) - before

        for start in range(0, len(ids), CONTENTS_AT_ONCE):
            part = ids[start : start + CONTENTS_AT_ONCE]
            docs = await self._by_ids(part)
            charge_counted(len(docs), examined=True)
            if len(docs) < len(part):
                return None
            for doc in docs:
                period = periods[doc["_id"]]
                if (pattern := plan.pattern(period)) == period:
                    await work.add(select(period, rows_from_docs([doc], *period, cuts=plan.cell_cuts(period))))
                else:
                    _, added = sums.setdefault(pattern, (period, ContentSum()))
                    await work.add(added.add(doc) / CELLS_PER_ROW)
        for period, added in sums.values():
            await work.add(select(period, added.rows(*period, plan.cell_cuts(period))))
        await work.pay()
        return rows


class _Work:
    """Rows that were computed, or work that takes as long, and for which the operation is charged after each turn."""

    def __init__(self) -> None:
        self._unpaid = 0.0

    async def add(self, rows: float) -> None:
        """Count rows. Raises OperationTooLarge or Throttled after a turn that is too dear."""
        self._unpaid += rows
        if self._unpaid >= ROWS_PER_TURN:
            await self.pay()
            # Ten years by the hour have millions of rows. Other requests have their turn meanwhile.
            await asyncio.sleep(0)

    async def pay(self) -> None:
        """Charge the operation for what it was not charged for yet. Raises OperationTooLarge or Throttled."""
        unpaid, self._unpaid = self._unpaid, 0.0
        await charge_rows(math.ceil(unpaid))


def _period_of(doc: Mapping[str, Any]) -> Period:
    return Period(Level(doc["level"]), to_ms(doc["start"]))


def head_from_doc(doc: Mapping[str, Any]) -> Head:
    """Return the head of a document."""
    types, dimensions = (
        tuple((kind, int(parts)) for kind, parts in doc.get(name, ())) for name in ("types", "dimensions")
    )
    return Head(doc.get("dirty"), doc.get("sealed"), types, dimensions=dimensions)
