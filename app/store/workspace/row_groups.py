"""Rows of counted events that the store adds up: the key and the totals of a group, and the row that it makes."""

from __future__ import annotations

from typing import Any

from app.domain.events.events import Category
from app.domain.rollups.rows import CountedRow, RowKey, Totals
from app.domain.values.decimals import ZERO
from app.store.codecs.counting import COUNTED, IS_MADE, WAITS
from app.store.mongo.queries import Doc

from .aggregations import exact_number

COUNTED_STAGE: Doc = {"$match": {"$and": COUNTED}}
"""Stage for the events that count in rows."""
ROW_KEY: Doc = {
    "type": "$type",
    "source": "$source",
    "category": "$category",
    "currency": {"$ifNull": ["$currency", None]},
    "made": IS_MADE,
}
"""Key of a row by source. A caller adds the cell, and by what else it groups."""
ROW_TOTALS: Doc = {
    "count": {"$sum": 1},
    "sum": {"$sum": "$amount"},
    "min": {"$min": "$amount"},
    "max": {"$max": "$amount"},
    "points_count": {"$sum": {"$cond": [{"$eq": [{"$ifNull": ["$points", None]}, None]}, 0, 1]}},
    "points_sum": {"$sum": "$points"},
    "points_min": {"$min": "$points"},
    "points_max": {"$max": "$points"},
    "oldest": {"$min": "$recorded_at"},
}
"""Totals of a row, as `Totals` names them, and the instant at which the first of its events was recorded."""


def row_stages(cell: Any, **key: Doc) -> list[Doc]:
    """Return the stages that add up the rows of matched events.

    Events that count in no row yet are in groups of their own, by `waits`. `cell` is the expression for the cell of an
    event; None for one cell. `key` has more by which events are grouped.
    """
    fields = {**ROW_KEY, "waits": WAITS, **({} if cell is None else {"at": cell}), **key}
    return [COUNTED_STAGE, {"$group": {"_id": fields, **ROW_TOTALS}}]


def row_from_group(doc: Doc, start_ms: int) -> CountedRow:
    """Return the row of a group by `ROW_KEY` with `ROW_TOTALS`, in the cell that begins at an instant."""
    key = doc["_id"]
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
