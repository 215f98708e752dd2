"""Rows of counted events: what the events of one type that share a row have in common, and their exact sums.

Rows add up in any order: the rows of a day are those of its hours, and the rows of a month are those of its days.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from app.domain.events.events import Category, Event
from app.domain.values.decimals import ZERO, add_exactly

QUARTER_HOUR_MS = 900_000


class RowKey(NamedTuple):
    """What the events of a row have in common, apart from their type.

    - `source`: the source; None in the rows of a dimension, which hold the events of all sources.
    - `category`: the category.
    - `currency`: the currency; None for events without an amount.
    - `made`: whether walks made the events, for rules or checkouts. They are no activity of the customer.
    - `dimension`, `value`: a marked attribute of the event type and its value, as text. None in the rows by source.

    An event counts in one row by source, and in one row for each dimension of its type that it has a value of.
    """

    source: str | None
    category: Category
    currency: str | None
    made: bool
    dimension: str | None = None
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Exact totals of events of one row: how many there are, and sum, least and greatest of amounts and of points.

    Amounts are as recorded: those of refunds are positive. Events with an amount have a currency, so all events of a row
    have an amount or none has. `points_count` counts the events whose points are not 0. The extremes of nothing are None.
    """

    count: int = 0
    sum: Decimal = ZERO
    min: Decimal | None = None
    max: Decimal | None = None
    points_count: int = 0
    points_sum: Decimal = ZERO
    points_min: Decimal | None = None
    points_max: Decimal | None = None

    def __add__(self, other: Totals) -> Totals:
        """Return the totals of both sets of events, which must have none in common."""
        return Totals(
            count=self.count + other.count,
            sum=add_exactly(self.sum, other.sum),
            min=_least(self.min, other.min),
            max=_greatest(self.max, other.max),
            points_count=self.points_count + other.points_count,
            points_sum=add_exactly(self.points_sum, other.points_sum),
            points_min=_least(self.points_min, other.points_min),
            points_max=_greatest(self.points_max, other.points_max),
        )


@dataclass(frozen=True, slots=True)
class CountedRow:
    """Totals of the events of one type and row that occurred in one cell of time.

    `start_ms` is the first instant of the cell, which is a quarter of an hour or a day of UTC, in milliseconds.
    """

    start_ms: int
    type: str
    key: RowKey
    totals: Totals


def row_of(event: Event) -> CountedRow:
    """Return the row by source of one event, in its quarter of an hour."""
    key = RowKey(event.source, event.category, event.currency, made=event.is_made)
    at_ms = event.occurred_ms
    return CountedRow(at_ms - at_ms % QUARTER_HOUR_MS, event.type, key, totals=totals_of(event))


def totals_of(event: Event) -> Totals:
    """Return the totals of one event."""
    return totals_from(event.amount, event.points)


def totals_from(amount: Decimal | None, points: Decimal) -> Totals:
    """Return the totals of one event with this amount and these points."""
    total = ZERO if amount is None else amount
    if not points:
        return Totals(1, total, min=amount, max=amount)
    return Totals(
        1, total, min=amount, max=amount, points_count=1, points_sum=points, points_min=points, points_max=points
    )


def add_rows(rows: Iterable[CountedRow]) -> list[CountedRow]:
    """Return the rows with those of the same cell, type and key added up, in no particular order."""
    totals: dict[tuple[int, str, RowKey], Totals] = {}
    for row in rows:
        where = (row.start_ms, row.type, row.key)
        before = totals.get(where)
        totals[where] = row.totals if before is None else before + row.totals
    return [CountedRow(*where, found) for where, found in totals.items()]


def _least(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return other if one is None else one if other is None else min(one, other)


def _greatest(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return other if one is None else one if other is None else max(one, other)
