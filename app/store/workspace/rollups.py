"""Named queries that read rows of counted events of one workspace from the events themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from app.domain.events.event_queries import EventQuery
from app.domain.events.events import CHECKOUT_CORRECTIONS, MERGE_FINISHED
from app.domain.rollups.dimensions import Dimension, rows_by_values
from app.domain.rollups.plans import SpanMs, has_quarters
from app.domain.rollups.rows import QUARTER_HOUR_MS, CountedRow, add_rows
from app.domain.rollups.selections import CALENDAR, Cells, Selection
from app.domain.state.statistics import Period
from app.domain.values.instants import HOUR_MS, from_ms, to_ms
from app.domain.values.paths import split_path
from app.domain.values.zones import UTC, days_of
from app.store.codecs.counting import WAITS
from app.store.codecs.rollups import ROW_FIELDS, metadata_fields, row_from_doc
from app.store.mongo.paging import build_match_stages
from app.store.mongo.queries import Database, Doc, in_chunks
from app.store.mongo.time_ranges import count_examined
from app.store.mongo.usage import charge_counted

from .counted_events import PASSES_PER_READ
from .events import OCCURRED, EventQueries, indexed_by
from .local_periods import cell_start, local_period_start
from .row_groups import COUNTED_STAGE, row_from_group, row_stages
from .waiting import Waiting, find_parked

_QUARTER_HOUR = cell_start(QUARTER_HOUR_MS)
_CAUSES = sorted({*CHECKOUT_CORRECTIONS, MERGE_FINISHED})
"""Types of events for which walks may make differences of checkouts."""
MAX_VALUES_READ = 50_000
"""Events whose values one read of a dimension examines."""


class TooManyEvents(Exception):
    """A question about a dimension would examine too many events."""


class EventRows(NamedTuple):
    """Rows computed from events, and the events of the same selection that count in no row yet."""

    rows: list[CountedRow]
    waiting: Waiting


class RollupQueries(EventQueries):
    """Rows of counted events of one workspace, computed by the store. Errors: Unavailable, safe to repeat.

    Internal events and declined ones do not count.
    """

    def __init__(self, db: Database, workspace_id: str, in_chunk: int, *, is_sharded: bool = False) -> None:
        super().__init__(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self._passes = db["passes"]

    async def rows_of_events(self, selection: Selection, zone: ZoneInfo) -> EventRows:
        """Return the rows of a selection, pending events included. The answer has a document for each row.

        Index: {workspace, type, occurred_at, _id} with one type; else {workspace, occurred_at, _id}.
        """
        whole = selection.from_ms, selection.to_ms
        await self.charge_spans(selection, [whole])
        where, by = self._where_in(selection, whole)
        docs = await self._group(build_match_stages(where, by, OCCURRED), _cell_expression(selection, zone))
        return _rows_from_docs(docs, selection, zone)

    async def charge_spans(self, selection: Selection, spans: Sequence[SpanMs]) -> None:
        """Charge the running operation for what the store examines in these spans for `rows_of_spans`.

        Raises OperationTooLarge or Throttled. Index as for `rows_of_events`, one query for each span.
        """
        for span in spans:
            await self._charge(_query_in(selection, span))

    async def rows_of_spans(self, selection: Selection, spans: Sequence[SpanMs]) -> list[CountedRow]:
        """Return the rows of a selection in spans of time, by quarters of an hour. The caller bounds what they hold.

        Index as for `rows_of_events`, one query for each span.
        """

        async def read(span: SpanMs) -> list[CountedRow]:
            where, by = self._where_in(selection, span)
            matching = build_match_stages(where, by, OCCURRED)
            if selection.dimension is not None:
                return (await self._read_values(matching, selection, selection.dimension)).rows
            docs = await self._group(matching, _QUARTER_HOUR)
            return _rows_from_docs(docs, replace(selection, from_ms=span[0], cells=Cells.QUARTER_HOUR), UTC).rows

        return [row for rows in await asyncio.gather(*map(read, spans)) for row in rows]

    async def count_by_hour(self, selection: Selection, span: SpanMs, limit: int) -> dict[int, int]:
        """Return how many of the first `limit` events in a span each hour has, by the hour's first instant.

        The store would examine these events for the rows of the span. Hours without events are left out. Index as for
        `rows_of_events`.
        """
        where, by = self._where_in(selection, span)
        stages: list[Doc] = [
            {"$match": {name: where[name] for name in (*by, OCCURRED)}},
            {"$sort": {OCCURRED: 1}},
            {"$limit": limit},
            {"$group": {"_id": cell_start(HOUR_MS), "n": {"$sum": 1}}},
        ]
        docs = await self._collection.aggregate(stages).to_list(None)
        return {to_ms(doc["_id"]): int(doc["n"]) for doc in docs}

    async def fit_events(self, selection: Selection, limit: int) -> bool:
        """Return whether the store would examine at most `limit` events for a selection. Index as for `rows_of_events`."""
        where, by = self._where_in(selection, (selection.from_ms, selection.to_ms))
        return await count_examined(self._collection, where, by, OCCURRED, limit + 1) <= limit

    async def pending_rows(self, selection: Selection) -> EventRows:
        """Return the rows of the pending events that no pass counted before, by quarters of an hour.

        Parked events are left out. Index: {workspace, occurred_at} of pending events; the embedded server takes {pend,
        workspace, …}.
        """
        matching = self._match_pending(selection)
        if selection.dimension is not None:
            found = await self._read_values(matching, selection, selection.dimension)
            charge_counted(sum(row.totals.count for row in found.rows) + found.waiting.number, examined=True)
            return found
        docs = await self._group(matching, _QUARTER_HOUR)
        charge_counted(sum(int(doc["count"]) for doc in docs), examined=True)
        return _rows_from_docs(docs, replace(selection, cells=Cells.QUARTER_HOUR), UTC)

    async def parked(self, selection: Selection) -> Waiting:
        """Return the events of a selection whose passes are parked.

        Indexes: {parked} of the passes, then {workspace, pass, occurred_at, _id}.
        """
        pass_ids = await find_parked(self._passes, self._in_workspace())
        where, _ = self._where_in(selection, (selection.from_ms, selection.to_ms))

        async def find(chunk: Sequence[str]) -> list[Doc]:
            asked = {**where, "pass": {"$in": list(chunk)}, "pend": {"$lt": 0}}
            return await self._group(build_match_stages(asked, ("workspace", "pass"), OCCURRED), None)

        docs = await in_chunks(find, pass_ids, min(self._in_chunk, PASSES_PER_READ))
        waiting = _waiting_of(docs)
        charge_counted(len(pass_ids) + waiting.number, examined=True)
        return waiting

    async def waiting(self, selection: Selection) -> Waiting:
        """Return the events of a selection that wait for a decision, or whose passes are parked.

        Three reads, and as many for parked passes as `parked` takes. Indexes as for `pending_rows` and `parked`.
        """
        before = await self.parked(selection)
        docs = await self._group(self._match_pending(selection), None)
        charge_counted(sum(int(doc["count"]) for doc in docs), examined=True)
        # An event whose pass was parked or released meanwhile is in one of the two counts.
        parked = max(before, await self.parked(selection), key=lambda waiting: waiting.number)
        return parked | _waiting_of(docs)

    async def first_cause_at(self, before_ms: int) -> datetime | None:
        """Return the earliest instant, before `before_ms`, of a pending event for which a walk makes differences.

        Differences of checkouts follow from their corrections, and from the ends of merges. Index: {workspace, occurred_at}
        of pending events; the embedded server takes {pend, workspace, …}.
        """
        # With the instant in the first stage, the embedded server reads all events of the period.
        stages: list[Doc] = [
            {"$match": self._in_workspace(pend={"$gte": 0})},
            {"$match": {"type": {"$in": _CAUSES}, OCCURRED: {"$lt": from_ms(before_ms)}}},
            {"$group": {"_id": None, "at": {"$min": f"${OCCURRED}"}}},
        ]
        docs = await self._collection.aggregate(stages).to_list(None)
        return docs[0]["at"] if docs else None

    async def first_made_at(self, before_ms: int) -> datetime | None:
        """Return the earliest instant, before `before_ms`, of an event that a walk made and that is not stored yet.

        Index: {workspace, made_at}.
        """
        where = self._in_workspace(made_at={"$gte": 0, "$lt": max(1, before_ms)})
        docs = await self._passes.find(where, {"made_at": 1}).sort("made_at", 1).limit(1).to_list(None)
        return from_ms(docs[0]["made_at"]) if docs else None

    def _match_pending(self, selection: Selection) -> list[Doc]:
        """Return the stages that find the pending events of a selection that no pass counted before."""
        where, _ = self._where_in(selection, (selection.from_ms, selection.to_ms))
        # With the instant in the first stage, the embedded server reads all events of the period.
        return [
            {"$match": self._in_workspace(pend={"$gte": 0})},
            {"$match": {"$and": [{name: condition} for name, condition in where.items()]}},
            {"$match": {"moved.told": {"$ne": True}}},
        ]

    def _where_in(self, selection: Selection, span: SpanMs) -> tuple[Doc, tuple[str, ...]]:
        """Return the filter of a selection in a span, and the fields before `occurred_at` of the index that serves it."""
        query = _query_in(selection, span)
        return self._where(query), indexed_by(query)

    async def _read_values(self, matching: Sequence[Doc], selection: Selection, dimension: Dimension) -> EventRows:
        """Return the rows of a dimension of the events that match, by quarters of an hour.

        The store cannot group by values of the metadata, so it returns the events. Raises TooManyEvents.
        """
        fields = {**ROW_FIELDS, **metadata_fields([split_path(dimension.path)]), "recorded_at": 1, "waits": WAITS}
        stages = [*matching, COUNTED_STAGE, {"$limit": MAX_VALUES_READ + 1}, {"$project": fields}]
        docs = await self._collection.aggregate(stages).to_list(None)
        if len(docs) > MAX_VALUES_READ:
            raise TooManyEvents
        waiting = [doc["recorded_at"] for doc in docs if doc["waits"]]
        rows = (
            row
            for doc in docs
            if not doc["waits"]
            for row in rows_by_values(row_from_doc(doc), dimension, doc.get("metadata"), selection.values)
        )
        found = [replace(row, start_ms=max(row.start_ms, selection.from_ms)) for row in add_rows(rows)]
        return EventRows(found, Waiting(len(waiting), min(waiting, default=None)))

    async def _group(self, matching: Sequence[Doc], cell: Any) -> list[Doc]:
        return await self._collection.aggregate([*matching, *row_stages(cell)]).to_list(None)


def _query_in(selection: Selection, span: SpanMs) -> EventQuery:
    return EventQuery(
        categories=tuple(selection.categories),
        types=tuple(selection.types),
        sources=tuple(selection.sources),
        currency=selection.currency,
        occurred_after=from_ms(span[0]),
        occurred_before=from_ms(span[1]),
    )


def _cell_expression(selection: Selection, zone: ZoneInfo) -> Any:
    """Return the expression for the cell in which an event lies; None for the whole period."""
    if selection.cells is Cells.TOTAL:
        return None
    low_ms, high_ms = selection.from_ms, selection.to_ms
    if selection.cells in (Cells.HOUR, Cells.QUARTER_HOUR):
        # In a zone whose hours begin inside a quarter of an hour, only the instant itself has one local time.
        return _QUARTER_HOUR if has_quarters(zone, low_ms, high_ms) else "$occurred_at"
    return local_period_start(Period(selection.cells), zone, low_ms, high_ms, selection.week_start)


def _rows_from_docs(docs: Iterable[Doc], selection: Selection, zone: ZoneInfo) -> EventRows:
    rows = [_row_from_doc(doc, selection, zone) for doc in docs if not doc["_id"]["waits"]]
    return EventRows(rows, _waiting_of(docs))


def _waiting_of(docs: Iterable[Doc]) -> Waiting:
    found = Waiting()
    for doc in docs:
        if doc["_id"]["waits"]:
            found |= Waiting(int(doc["count"]), doc["oldest"])
    return found


def _row_from_doc(doc: Doc, selection: Selection, zone: ZoneInfo) -> CountedRow:
    start_ms = selection.from_ms
    if selection.cells in CALENDAR:
        # Of a period in local time, the store computes the first day, as a midnight of UTC.
        start_ms = max(start_ms, days_of(zone).start_ms(doc["_id"]["at"].date()))
    elif selection.cells is not Cells.TOTAL:
        start_ms = max(start_ms, to_ms(doc["_id"]["at"]))
    return row_from_group(doc, start_ms)
