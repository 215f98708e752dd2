"""Aggregates of a pass: functions of the *set* of its events, so that any order and any split gives the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from app.domain.events.events import Category, Event
from app.domain.values.decimals import ZERO, add

Key = tuple[str, str | None]
"""(type, currency); the currency is None for events without an amount."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One row: count, exact sum, min and max of the amount, first and last instant (ms) of one type and currency."""

    category: Category
    count: int
    sum: Decimal
    min: Decimal | None
    max: Decimal | None
    first_ms: int
    last_ms: int


Aggregates = Mapping[Key, Aggregate]


def fold(aggregates: Aggregates, events: Iterable[Event]) -> dict[Key, Aggregate]:
    """The aggregates with each of `events` counted once more. Amounts are summed as stored, refunds too."""
    rows = dict(aggregates)
    for event in events:
        key = (event.type, event.currency)
        row = rows.get(key)
        at, amount = event.occurred_ms, event.amount
        if row is None:
            rows[key] = Aggregate(event.category, 1, amount if amount is not None else ZERO, amount, amount, at, at)
            continue
        total, low, high = row.sum, row.min, row.max
        if amount is not None:
            total = add(total, amount)
            low = amount if low is None or amount < low else low
            high = amount if high is None or amount > high else high
        rows[key] = Aggregate(
            row.category, row.count + 1, total, low, high, min(row.first_ms, at), max(row.last_ms, at)
        )
    return rows
