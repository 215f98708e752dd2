"""Answers of aggregations from rows of counted events: the same groups as from the events themselves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from datetime import datetime
from decimal import Decimal

from app.domain.events.event_queries import EventQuery
from app.domain.events.spend import signed
from app.domain.state.aggregations import (
    AMOUNT,
    CLOCK,
    COUNTS,
    PERIODS,
    POINTS,
    Aggregation,
    Function,
    Group,
    GroupBy,
    Key,
)
from app.domain.values.conditions import Condition, Operator
from app.domain.values.decimals import ZERO, add_exactly, average
from app.domain.values.instants import EARLIEST, LATEST, from_ms, to_ms

from .dimensions import Dimension, dimension_of, is_dimension
from .rows import CountedRow
from .selections import Cells, LocalClock, Selection

_FIELDS = frozenset({None, AMOUNT, POINTS})
_ANSWERED = frozenset({"types", "categories", "sources", "currency", "occurred_after", "occurred_before", "metadata"})
_UNANSWERED = [field.name for field in fields(EventQuery) if field.name not in _ANSWERED]
"""Parts of a query that rows say nothing about."""
_DIMENSIONS = frozenset({GroupBy.TYPE, GroupBy.CATEGORY, GroupBy.SOURCE, GroupBy.CURRENCY, *PERIODS, *CLOCK})


def selection_of(query: EventQuery, aggregation: Aggregation) -> Selection | None:
    """Return the selection of rows that answers an aggregation of events; None if rows do not say enough.

    Rows name no passes. Of the metadata, they hold the values of one attribute of one type, if it is a dimension: the
    caller checks that. They do not hold these values by source.
    """
    has_more = any(getattr(query, name) not in (None, (), []) for name in _UNANSWERED)
    is_counted = aggregation.function is not Function.COUNT_PASSES and aggregation.field in _FIELDS
    if has_more or not is_counted or not _DIMENSIONS.issuperset(aggregation.group_by):
        return None
    types, dimension = aggregation.types_of(query.types), None
    paths = [*aggregation.metadata_by, *(".".join(each.steps) for each in query.metadata)]
    if paths:
        names_sources = bool(query.sources) or GroupBy.SOURCE in aggregation.group_by
        if len(paths) > 1 or len(types) != 1 or names_sources or not all(map(_names_values, query.metadata)):
            return None
        dimension = Dimension(types[0], paths[0])
    return Selection(
        to_ms(query.occurred_after or EARLIEST),
        to_ms(query.occurred_before or LATEST),
        types=types,
        categories=query.categories,
        sources=query.sources,
        currency=query.currency,
        cells=_cells_of(aggregation),
        clock=_clock_of(aggregation),
        week_start=aggregation.week_start,
        dimension=dimension,
        values=query.metadata[0] if query.metadata else None,
    )


def _names_values(condition: Condition) -> bool:
    return condition.operator in (Operator.EQ, Operator.IN)


def groups_of(aggregation: Aggregation, selection: Selection, rows: Iterable[CountedRow]) -> list[Group]:
    """Return the groups of the rows of a selection, in no particular order. Rows without the field do not count."""
    with_made = aggregation.counts_made(selection.types)
    values: dict[Key, Decimal] = {}
    counts: dict[Key, int] = {}
    for row in rows:
        number = _count_of(aggregation, row)
        if not number or (row.key.made and not with_made):
            continue
        values_by = (row.key.value,) if aggregation.metadata_by else ()
        key = (*(_coordinate(aggregation, by, row) for by in aggregation.group_by), *values_by)
        value = _value_of(aggregation, row)
        values[key] = _join(aggregation.function, values[key], value) if key in values else value
        counts[key] = counts.get(key, 0) + number
    return [Group(key, counts[key], _result(aggregation.function, values[key], counts[key])) for key in counts]


def _cells_of(aggregation: Aggregation) -> Cells:
    """Return the widest cells that lie each in one group."""
    if {GroupBy.HOUR, GroupBy.WEEKDAY_AND_HOUR}.intersection(aggregation.group_by):
        return Cells.HOUR
    if GroupBy.WEEKDAY in aggregation.group_by:
        return Cells.DAY
    return next((Cells(by.value) for by in aggregation.group_by if by in PERIODS), Cells.TOTAL)


def _clock_of(aggregation: Aggregation) -> LocalClock | None:
    """Return the clock by which groups differ; None if they differ by periods of the calendar, too."""
    clocks = [by for by in aggregation.group_by if by in CLOCK]
    if len(clocks) != 1 or PERIODS.keys() & set(aggregation.group_by):
        return None
    return LocalClock(clocks[0].value)


def _count_of(aggregation: Aggregation, row: CountedRow) -> int:
    """Return how many events of a row count: all, or those that have the field."""
    if aggregation.field == POINTS:
        return row.totals.points_count
    return row.totals.count if aggregation.field is None or row.totals.min is not None else 0


def _value_of(aggregation: Aggregation, row: CountedRow) -> Decimal:
    totals, of_points = row.totals, aggregation.field == POINTS
    found: Decimal | None
    match aggregation.function:
        case Function.MIN:
            found = totals.points_min if of_points else totals.min
        case Function.MAX:
            found = totals.points_max if of_points else totals.max
        case Function.SUM if not of_points:
            found = signed(_type_of(row), totals.sum, gross=aggregation.gross)
        case _:
            found = totals.points_sum if of_points else totals.sum
    return ZERO if found is None else found


def _join(function: Function, one: Decimal, other: Decimal) -> Decimal:
    if function is Function.MIN:
        return min(one, other)
    return max(one, other) if function is Function.MAX else add_exactly(one, other)


def _result(function: Function, value: Decimal, count: int) -> Decimal:
    if function in COUNTS:
        return Decimal(count)
    return average(value, count) if function is Function.AVG else value


def _type_of(row: CountedRow) -> str:
    return dimension_of(row.type).type if is_dimension(row.type) else row.type


def _coordinate(aggregation: Aggregation, by: GroupBy, row: CountedRow) -> str | datetime | None:
    match by:
        case GroupBy.TYPE:
            return _type_of(row)
        case GroupBy.CATEGORY:
            return row.key.category.value
        case GroupBy.SOURCE:
            return row.key.source
        case GroupBy.CURRENCY:
            return row.key.currency
        case _:
            return aggregation.time_coordinate(by, from_ms(row.start_ms))
