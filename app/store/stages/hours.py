"""The content of one hour from its events, for the seal stage.

An hour with few events takes one read. Of a larger one, the store adds up the rows, in parts of the hour, and only events of
types with dimensions are read. So a worker reads an hour of 100,000 events in seconds while it also folds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from app.domain.rollups.building import Content, ContentBuilder
from app.domain.rollups.dimensions import Dimension, Incomplete, ValueRows
from app.domain.rollups.levels import Level
from app.domain.rollups.plans import SpanMs
from app.domain.rollups.rows import QUARTER_HOUR_MS
from app.domain.values.instants import from_ms, to_ms
from app.domain.values.paths import Steps
from app.store.codecs.counting import may_count
from app.store.codecs.rollups import ROW_FIELDS, metadata_fields, row_from_doc
from app.store.mongo.queries import Collection, Doc
from app.store.workspace.local_periods import cell_start
from app.store.workspace.row_groups import COUNTED_STAGE, row_from_group, row_stages

SCAN_BATCH_SIZE = 1_000
"""Events that one read returns. Between two reads, the worker's other stages run."""
PART_SIZE = 10_000
"""Events that the store adds up at once, unless more have one instant."""
URGENT_PARTS = 3
"""Parts of an urgent hour that the store adds up at the same time."""
CELLS_MS = (5_000, 10, 1)
"""Lengths of the cells whose events the store counts before it adds up those of some cells at once.

The cells of the next length cut a cell that has too many events.
"""
_IS_PENDING: Doc = {"$not": [{"$lt": [{"$ifNull": ["$pend", -1]}, 0]}]}
_ROW_STAGES = row_stages(cell_start(QUARTER_HOUR_MS), pending=_IS_PENDING)


async def _go_on() -> None:
    """Return at once."""


class PendingFound(Exception):
    """An event of the hour is pending, so the hour must be left."""


class _Part(NamedTuple):
    """Part of an hour, with its number of events. If these are too many, cells of the level cut it."""

    span: SpanMs
    event_count: int
    level: int


class HourReader:
    """Read of the events of one hour of a workspace. Parked events count as absent.

    `give_way` is called between two reads. It is None for an urgent hour: some of its parts are read at the same time.
    """

    def __init__(
        self,
        events: Collection,
        workspace_id: str,
        *,
        give_way: Callable[[], Awaitable[None]] | None,
        dimensions: Mapping[Dimension, Steps],
    ) -> None:
        self._events, self._workspace_id, self._give_way = events, workspace_id, give_way or _go_on
        self._parts_at_once = URGENT_PARTS if give_way is None else 1
        self._types = sorted({dimension.type for dimension in dimensions})
        self._fields = {**ROW_FIELDS, **metadata_fields(dimensions.values())}
        self._by_value, self._builder = ValueRows(dimensions), ContentBuilder(Level.HOUR)

    async def read(self, start_ms: int) -> tuple[Content, Incomplete]:
        """Return the content of the hour and what it cannot claim. Raises PendingFound.

        Indexes: {workspace, occurred_at, _id}, {workspace, type, occurred_at, _id}, and one of pending events.
        """
        span = start_ms, Level.HOUR.end_ms(start_ms)
        few = self._events.find(self._where(span), self._fields, batch_size=SCAN_BATCH_SIZE + 2)
        docs = await few.limit(SCAN_BATCH_SIZE + 1).to_list(None)
        if len(docs) <= SCAN_BATCH_SIZE:
            self._add(docs)
        else:
            await self._look_for_pending(span)
            await self._add_up(span)
            for each in self._types:
                await self._scan(self._where(span, type=each), rows=False)
        return self._builder.content, self._by_value.incomplete

    def _where(self, span: SpanMs, **conditions: Any) -> Doc:
        occurred = {"$gte": from_ms(span[0]), "$lt": from_ms(span[1])}
        return {"workspace": self._workspace_id, **conditions, "occurred_at": occurred}

    async def _look_for_pending(self, span: SpanMs) -> None:
        """Raise PendingFound if an event is pending. Each read looks, too; this one spares the reads before that event."""
        # With the instant in the first stage, the embedded server reads all events of the hour.
        stages = [
            {"$match": {"workspace": self._workspace_id, "pend": {"$gte": 0}}},
            {"$match": {"occurred_at": self._where(span)["occurred_at"]}},
            COUNTED_STAGE,
            {"$limit": 1},
            {"$project": {"_id": 1}},
        ]
        self._leave_if(is_pending=bool(await self._events.aggregate(stages).to_list(None)))

    async def _add_up(self, span: SpanMs) -> None:
        """Let the store add up the rows of a span, in parts."""
        parts = await self._split(span, 0)
        while parts:
            taken, parts = parts[: self._parts_at_once], parts[self._parts_at_once :]
            for smaller in await asyncio.gather(*map(self._add_part, taken)):
                parts += smaller
            await self._give_way()

    async def _add_part(self, part: _Part) -> list[_Part]:
        """Let the store add up the rows of one part. If it has too many events, return smaller parts instead."""
        if part.event_count > PART_SIZE and part.level < len(CELLS_MS):
            return await self._split(part.span, part.level)
        if part.event_count > PART_SIZE:
            await self._scan(self._where(part.span), values=False)
        elif part.event_count:
            stages = [{"$match": self._where(part.span)}, *_ROW_STAGES]
            for doc in await self._events.aggregate(stages).to_list(None):
                self._add_group(doc)
        return []

    async def _split(self, span: SpanMs, level: int) -> list[_Part]:
        """Return the parts of a span. Events that are stored meanwhile are pending.

        A part has at most `PART_SIZE` events, or all of them are in one cell of the level.
        """
        cell = cell_start(CELLS_MS[level])
        stages = [{"$match": self._where(span)}, {"$group": {"_id": cell, "count": {"$sum": 1}}}]
        cells = sorted((to_ms(doc["_id"]), doc["count"]) for doc in await self._events.aggregate(stages).to_list(None))
        starts_ms, counts = [span[0]], [0]
        for start_ms, count in cells:
            if counts[-1] and counts[-1] + count > PART_SIZE:
                starts_ms.append(start_ms)
                counts.append(0)
            counts[-1] += count
        spans = zip(starts_ms, [*starts_ms[1:], span[1]], strict=True)
        return [_Part(own, count, level + 1) for own, count in zip(spans, counts, strict=True)]

    def _add_group(self, doc: Doc) -> None:
        key = doc["_id"]
        self._leave_if(is_pending=key["pending"])
        if not key["waits"]:
            self._builder.add(row_from_group(doc, to_ms(key["at"])))

    async def _scan(self, where: Doc, *, rows: bool = True, values: bool = True) -> None:
        """Read events in batches, and add their rows by source, those of dimensions, or both."""
        cursor = self._events.find(where, self._fields, batch_size=SCAN_BATCH_SIZE)
        try:
            while docs := await cursor.to_list(SCAN_BATCH_SIZE):
                self._add(docs, rows=rows, values=values)
                await self._give_way()
        finally:
            await cursor.close()

    def _add(self, docs: Sequence[Doc], *, rows: bool = True, values: bool = True) -> None:
        for doc in docs:
            if not may_count(doc):
                continue
            slot = doc.get("pend")
            self._leave_if(is_pending=slot is not None and slot >= 0)
            if slot is None:
                row = row_from_doc(doc)
                if rows:
                    self._builder.add(row)
                for each in self._by_value.rows(row, doc.get("metadata")) if values else ():
                    self._builder.add(each)

    @staticmethod
    def _leave_if(*, is_pending: bool) -> None:
        if is_pending:
            raise PendingFound
