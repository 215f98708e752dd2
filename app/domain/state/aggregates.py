"""Aggregates of a pass: functions of the *set* of its events.

Any order and any split into folds gives the same result.
"""

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
    """Aggregate row of one event type and currency.

    It holds the count, the exact sum, minimum and maximum of the amounts, and the first and last instant in ms.
    """

    category: Category
    count: int
    sum: Decimal
    min: Decimal | None
    max: Decimal | None
    first_ms: int
    last_ms: int


Aggregates = Mapping[Key, Aggregate]


def fold_events(aggregates: Aggregates, events: Iterable[Event]) -> dict[Key, Aggregate]:
    """Return the aggregates with the events added. Amounts are summed as stored, so refunds add, too."""
    rows = dict(aggregates)
    for event in events:
        key = (event.type, event.currency)
        row = rows.get(key)
        at, amount = event.occurred_ms, event.amount
        if row is None:
            rows[key] = Aggregate(
                event.category,
                1,
                amount if amount is not None else ZERO,
                min=amount,
                max=amount,
                first_ms=at,
                last_ms=at,
            )
            continue
        total, low, high = row.sum, row.min, row.max
        if amount is not None:
            total = add(total, amount)
            low = amount if low is None or amount < low else low
            high = amount if high is None or amount > high else high
        rows[key] = Aggregate(
            row.category,
            row.count + 1,
            total,
            min=low,
            max=high,
            first_ms=min(row.first_ms, at),
            last_ms=max(row.last_ms, at),
        )
    return rows
