"""Contents of rollups as documents with binary columns, and back.

A document holds one event type, or one part of it: at most `ROWS_PER_PART` rows. Each column holds one number for each
cell of all rows, one after the other. A column has the narrowest width into which its numbers fit. Amounts and points are
whole numbers of the smallest unit that the row needs, so a row stores one scale for each of both. They may be of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import accumulate, pairwise
from typing import Any

from app.domain.events.events import Category
from app.domain.rollups.building import Content
from app.domain.rollups.dimensions import is_dimension
from app.domain.rollups.levels import Level
from app.domain.rollups.rows import QUARTER_HOUR_MS, CountedRow, RowKey, Totals, totals_from
from app.domain.values.decimals import WIDE, ZERO
from app.domain.values.instants import to_ms
from app.domain.values.paths import Steps
from app.store.mongo.decimal128 import from_decimal128
from app.store.mongo.queries import Doc

from .counting import is_made
from .rollup_columns import (
    COLUMNS,
    CellSums,
    Columns,
    extremes_of,
    group_cells,
    pack_column,
    part_of_column,
    sum_column,
    unpack_column,
)

ROWS_PER_PART = 500
"""Rows that one document holds. With 96 cells of eight 64-bit numbers each, it has about 3 MB of the allowed 16 MB."""


def content_id(workspace_id: str, level: Level, start_ms: int, *, token: int, event_type: str, part: int) -> str:
    """Return the id of the document that holds one part of an event type."""
    return f"{head_id(workspace_id, level, start_ms)}|{token}|{event_type}|{part}"


def content_ids(
    workspace_id: str, level: Level, start_ms: int, *, token: int | None, kinds: Iterable[tuple[str, int]]
) -> list[str]:
    """Return the ids of the documents of a content that hold these kinds of rows; none without a token.

    `kinds` has the number of documents of each kind.
    """
    if token is None:
        return []
    return [
        content_id(workspace_id, level, start_ms, token=token, event_type=kind, part=part)
        for kind, parts in kinds
        for part in range(parts)
    ]


def head_id(workspace_id: str, level: Level, start_ms: int) -> str:
    """Return the id of the head of a period, which says whether it is dirty and which content is valid."""
    return f"{workspace_id}|{level.value}|{start_ms}"


def head_id_of_content(content_id: str) -> str:
    """Return the id of the head to which a document of a content belongs."""
    return "|".join(content_id.split("|", 3)[:3])


def token_of_content(content_id: str) -> str:
    """Return the token under which a document of a content is stored, as text."""
    return content_id.split("|", 4)[3]


def parts_of(content: Content) -> list[tuple[str, int]]:
    """Return the event types of a content with the number of documents that hold each, as a head stores them."""
    return [part for part in _kinds_of(content) if not is_dimension(part[0])]


def dimension_parts_of(content: Content) -> list[tuple[str, int]]:
    """Return the kinds of the dimensions of a content with the number of documents that hold each."""
    return [part for part in _kinds_of(content) if is_dimension(part[0])]


def _kinds_of(content: Content) -> list[tuple[str, int]]:
    return [(kind, -(-len(content[kind]) // ROWS_PER_PART)) for kind in sorted(content)]


def content_to_docs(content: Content, workspace_id: str, level: Level, start_ms: int, *, token: int) -> list[Doc]:
    """Return the documents that hold a content under a token. The same content gives the same documents."""
    docs: list[Doc] = []
    for event_type in sorted(content):
        rows = sorted(content[event_type].items(), key=lambda row: _order(row[0]))
        for part, first in enumerate(range(0, len(rows), ROWS_PER_PART)):
            key = content_id(workspace_id, level, start_ms, token=token, event_type=event_type, part=part)
            columns = _columns_of(rows[first : first + ROWS_PER_PART])
            docs.append({"_id": key, "workspace": workspace_id, "type": event_type, **columns})
    return docs


def rows_from_docs(
    docs: Iterable[Mapping[str, Any]], level: Level, start_ms: int, *, cuts: Sequence[int] = ()
) -> Iterator[CountedRow]:
    """Return the rows of documents of one period, in no particular order.

    `cuts`, ascending, are numbers of cells at which rows begin: what lies between two cuts becomes one row, which begins at
    the earlier one. Cells before the first cut, and from the last one on, are left out. Without cuts, each cell is a row.
    Adding cells up here is about ten times as fast as adding up rows.
    """
    for doc in docs:
        columns = {name: unpack_column(doc[name]) for name in COLUMNS}
        ends = [0, *accumulate(doc["cells"])]
        numbers = part_of_column(columns["cell"], 0, ends[-1])
        for index, (first, end) in enumerate(pairwise(ends)):
            key, scales = _key_from_doc(doc["keys"][index]), doc["scales"][index]
            for low, high, number in group_cells(numbers, first, end, cuts):
                totals = _totals_between(columns, low, high, scales)
                yield CountedRow(start_ms + number * level.cell_ms, doc["type"], key, totals=totals)


class ContentSum:
    """Documents of several periods of one level, added up cell by cell.

    To add the 96 cells of a row takes as long as to compute four rows, and its 24 hours would be 24 rows.
    """

    def __init__(self) -> None:
        self._rows: dict[tuple[str, tuple[Any, ...], tuple[int, ...]], CellSums] = {}

    def add(self, doc: Mapping[str, Any]) -> int:
        """Add a document and return the number of its cells."""
        columns = {name: unpack_column(doc[name]) for name in COLUMNS}
        ends: list[int] = [0, *accumulate(doc["cells"])]
        for index, (first, end) in enumerate(pairwise(ends)):
            where = doc["type"], tuple(doc["keys"][index]), tuple(doc["scales"][index])
            sums = self._rows.setdefault(where, CellSums())
            cells = part_of_column(columns["cell"], first, end)
            sums.add(
                cells, {name: part_of_column(column, first, end) for name, column in columns.items() if column != 0}
            )
        return ends[-1]

    def rows(self, level: Level, start_ms: int, cuts: Sequence[int]) -> Iterator[CountedRow]:
        """Return the rows of the sum as those of one period, as `rows_from_docs` does."""
        for (event_type, key, scales), sums in self._rows.items():
            columns = sums.columns()
            for low, high, number in group_cells(columns["cell"], 0, len(columns["cell"]), cuts):
                totals = _totals_between(columns, low, high, scales)
                yield CountedRow(start_ms + number * level.cell_ms, event_type, _key_from_doc(key), totals=totals)


ROW_FIELDS = {
    "_id": 0,
    **dict.fromkeys(("type", "source", "category", "currency", "amount", "points", "occurred_at", "pend"), 1),
    "origin.channel": 1,
    "outcome.status": 1,
}
"""Fields of an event that say which row it counts in, and whether it counts."""


def metadata_fields(paths: Iterable[Steps]) -> Doc:
    """Return the fields of an event that have the values at paths of the metadata.

    Only the first step is a field: a later one may go through a list, or name an element of it.
    """
    return {f"metadata.{steps[0]}": 1 for steps in paths}


def row_from_doc(doc: Mapping[str, Any]) -> CountedRow:
    """Return the row by source of the document of an event, with at least `ROW_FIELDS`. It equals `row_of` the event."""
    event_type, amount, points = doc["type"], doc.get("amount"), doc.get("points")
    at_ms = to_ms(doc["occurred_at"])
    key = RowKey(doc["source"], Category.of_stored(doc["category"]), doc.get("currency"), made=is_made(doc))
    totals = totals_from(
        None if amount is None else from_decimal128(amount), ZERO if points is None else from_decimal128(points)
    )
    return CountedRow(at_ms - at_ms % QUARTER_HOUR_MS, event_type, key, totals=totals)


def _columns_of(rows: Sequence[tuple[RowKey, Mapping[int, Totals]]]) -> Doc:
    numbers: dict[str, list[int]] = {name: [] for name in COLUMNS}
    scales: list[list[int]] = []
    for _, cells in rows:
        ordered = sorted(cells.items())
        amounts = _scale(ordered, lambda totals: (totals.sum, totals.min, totals.max))
        points = _scale(ordered, lambda totals: (totals.points_sum, totals.points_min, totals.points_max))
        scales.append([amounts, points])
        for number, totals in ordered:
            values = (
                number,
                totals.count,
                _units(totals.sum, amounts),
                int(totals.min is not None),
                _units(totals.min, amounts),
                _units(totals.max, amounts),
                totals.points_count,
                _units(totals.points_sum, points),
                _units(totals.points_min, points),
                _units(totals.points_max, points),
            )
            for name, value in zip(COLUMNS, values, strict=True):
                numbers[name].append(value)
    return {
        "keys": [_key_to_doc(key) for key, _ in rows],
        "cells": [len(cells) for _, cells in rows],
        "scales": scales,
        **{name: pack_column(column) for name, column in numbers.items()},
    }


def _totals_between(columns: Columns, low: int, high: int, scales: Sequence[int]) -> Totals:
    """Return the totals of the cells of one row from the index `low` to before `high`."""
    amounts, points = scales
    n, total, least, greatest = columns["n"], columns["sum"], columns["min"], columns["max"]
    points_count = sum_column(columns["pn"], low, high)
    extremes = extremes_of(least, greatest, columns["has"], low, high)
    points_extremes = extremes_of(columns["pmin"], columns["pmax"], columns["pn"], low, high) if points_count else None
    return Totals(
        sum_column(n, low, high),
        _decimal(sum_column(total, low, high), amounts),
        min=None if extremes is None else _decimal(extremes[0], amounts),
        max=None if extremes is None else _decimal(extremes[1], amounts),
        points_count=points_count,
        points_sum=_decimal(sum_column(columns["psum"], low, high), points),
        points_min=None if points_extremes is None else _decimal(points_extremes[0], points),
        points_max=None if points_extremes is None else _decimal(points_extremes[1], points),
    )


def _scale(cells: Sequence[tuple[int, Totals]], values: Callable[[Totals], Iterable[Decimal | None]]) -> int:
    """Return the exponent of the smallest unit that the values of a row need, at most 0."""
    found = (value.as_tuple().exponent for _, totals in cells for value in values(totals) if value is not None)
    return min(0, *(exponent for exponent in found if isinstance(exponent, int)))


def _units(value: Decimal | None, scale: int) -> int:
    return 0 if value is None else int(value.scaleb(-scale, context=WIDE))


def _decimal(units: int, scale: int) -> Decimal:
    return Decimal(units).scaleb(scale, context=WIDE) if units or scale else ZERO


def _key_to_doc(key: RowKey) -> list[object]:
    """Return the fields of a key. Most keys have no dimension, and store no fields for it."""
    fields: list[object] = [key.source, key.category.value, key.currency, key.made]
    return fields if key.dimension is None else [*fields, key.dimension, key.value]


def _key_from_doc(stored: Sequence[Any]) -> RowKey:
    source, category, currency, made, *dimension = stored
    key = RowKey(source, Category.of_stored(category), currency, made=made)
    return key._replace(dimension=dimension[0], value=dimension[1]) if dimension else key


def _order(key: RowKey) -> tuple[str, ...]:
    return tuple("" if field is None else f"={field}" for field in key)
