"""Named queries that read rows of counted events of one workspace."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from app.domain.events.event_queries import EventQuery
from app.domain.events.events import INTERNAL_TYPES, Category
from app.domain.rollups.rows import QUARTER_HOUR_MS, CountedRow, RowKey, Totals
from app.domain.rollups.selections import Cells, Selection
from app.domain.state.statistics import Period
from app.domain.values.decimals import ZERO
from app.domain.values.instants import MINUTE_MS, from_ms, to_ms
from app.domain.values.zones import days_of
from app.store.codecs.guards import NOT_DECLINED
from app.store.mongo.paging import build_match_stages, charge_examined
from app.store.mongo.queries import Doc

from .aggregations import IS_MADE, exact_number
from .events import OCCURRED, EventQueries, indexed_by
from .local_periods import local_period_start

_GROUP: Doc = {
    "count": {"$sum": 1},
    "sum": {"$sum": "$amount"},
    "min": {"$min": "$amount"},
    "max": {"$max": "$amount"},
    "points_count": {"$sum": {"$cond": [{"$eq": [{"$ifNull": ["$points", None]}, None]}, 0, 1]}},
    "points_sum": {"$sum": "$points"},
    "points_min": {"$min": "$points"},
    "points_max": {"$max": "$points"},
}
"""Totals of a row, as `Totals` names them."""


class RollupQueries(EventQueries):
    """Rows of counted events of one workspace. Errors: Unavailable, safe to repeat."""

    async def rows_of_events(self, selection: Selection, zone: ZoneInfo) -> list[CountedRow]:
        """Return the rows of a selection, computed by the store from the events themselves, pending ones included.

        Internal events and declined ones do not count. The answer has a document for each row. Index: {workspace, type,
        occurred_at, _id} with one type; else {workspace, occurred_at, _id}.
        """
        query = EventQuery(
            categories=tuple(selection.categories),
            types=tuple(selection.types),
            sources=tuple(selection.sources),
            currency=selection.currency,
            occurred_after=from_ms(selection.from_ms),
            occurred_before=from_ms(selection.to_ms),
        )
        where, by = self._where(query), indexed_by(query)
        await charge_examined(self._collection, {name: where[name] for name in (*by, OCCURRED)})
        key: Doc = {
            "type": "$type",
            "source": "$source",
            "category": "$category",
            "currency": {"$ifNull": ["$currency", None]},
            "made": IS_MADE,
        }
        if selection.cells is Cells.DAY:
            key["at"] = local_period_start(Period.DAY, zone, selection.from_ms, selection.to_ms)
        elif selection.cells is Cells.QUARTER_HOUR:
            key["at"] = {
                "$dateTrunc": {"date": "$occurred_at", "unit": "minute", "binSize": QUARTER_HOUR_MS // MINUTE_MS}
            }
        stages = [
            *build_match_stages(where, by, OCCURRED),
            {"$match": {"$and": [{"type": {"$nin": sorted(INTERNAL_TYPES)}}, NOT_DECLINED]}},
            {"$group": {"_id": key, **_GROUP}},
        ]
        docs = await self._collection.aggregate(stages).to_list(None)
        return [_row_from_doc(doc, selection, zone) for doc in docs]


def _row_from_doc(doc: Doc, selection: Selection, zone: ZoneInfo) -> CountedRow:
    key = doc["_id"]
    match selection.cells:
        case Cells.TOTAL:
            start_ms = selection.from_ms
        case Cells.DAY:
            # Of a local day, the store computes the date, as a midnight of UTC.
            start_ms = max(selection.from_ms, days_of(zone).start_ms(key["at"].date()))
        case Cells.QUARTER_HOUR:
            start_ms = to_ms(key["at"])
    extremes = {
        name: None if doc[name] is None else exact_number(doc[name])
        for name in ("min", "max", "points_min", "points_max")
    }
    points_count = int(doc["points_count"])
    return CountedRow(
        start_ms,
        key["type"],
        RowKey(key["source"], Category.of_stored(key["category"]), key["currency"], made=bool(key["made"])),
        totals=Totals(
            count=int(doc["count"]),
            sum=exact_number(doc["sum"]),
            points_count=points_count,
            points_sum=exact_number(doc["points_sum"]) if points_count else ZERO,
            **extremes,
        ),
    )
