"""Aggregates of a pass: functions of the *set* of its events.

Any order and any split into folds gives the same result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from app.domain.events.events import Category, Event
from app.domain.events.spend import SPEND_CATEGORY
from app.domain.values.decimals import ZERO, add

AggregateKey = tuple[str, str | None]
"""(type, currency); the currency is None for events without an amount."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Aggregate row of one event type and currency.

    It holds the count, the exact sum, minimum and maximum of the amounts, and the first and last instant in ms. `spent`
    is the part of the sum that is spend: all of it, or nothing, unless clients sent events of one type with different
    categories. `category` is then that of the event that was folded first.
    """

    category: Category
    count: int
    sum: Decimal
    min: Decimal | None
    max: Decimal | None
    first_ms: int
    last_ms: int
    spent: Decimal = ZERO


Aggregates = Mapping[AggregateKey, Aggregate]


def fold_events(aggregates: Aggregates, events: Iterable[Event]) -> dict[AggregateKey, Aggregate]:
    """Return the aggregates with the events added. Amounts are summed as stored, so refunds add, too."""
    rows = dict(aggregates)
    for event in events:
        key = (event.type, event.currency)
        row = rows.get(key)
        at, amount = event.occurred_ms, event.amount
        is_spend = event.category is SPEND_CATEGORY
        if row is None:
            total = amount if amount is not None else ZERO
            rows[key] = Aggregate(
                event.category,
                1,
                total,
                min=amount,
                max=amount,
                first_ms=at,
                last_ms=at,
                spent=total if is_spend else ZERO,
            )
            continue
        total, low, high, spent = row.sum, row.min, row.max, row.spent
        if amount is not None:
            total = add(total, amount)
            low = amount if low is None or amount < low else low
            high = amount if high is None or amount > high else high
            if is_spend:
                # Usually all events of a row are spend, and the sum need not be computed twice.
                spent = total if row.spent is row.sum else add(spent, amount)
        rows[key] = Aggregate(
            row.category,
            row.count + 1,
            total,
            min=low,
            max=high,
            first_ms=min(row.first_ms, at),
            last_ms=max(row.last_ms, at),
            spent=spent,
        )
    return rows


def merge_aggregates(a: Aggregate, b: Aggregate) -> Aggregate:
    """Return the row of two rows of one key, from different events. The category is that of the first row."""
    low = [amount for amount in (a.min, b.min) if amount is not None]
    high = [amount for amount in (a.max, b.max) if amount is not None]
    return Aggregate(
        a.category,
        a.count + b.count,
        add(a.sum, b.sum),
        min=min(low, default=None),
        max=max(high, default=None),
        first_ms=min(a.first_ms, b.first_ms),
        last_ms=max(a.last_ms, b.last_ms),
        spent=add(a.spent, b.spent),
    )


def join_aggregates(one: Aggregates, other: Aggregates) -> dict[AggregateKey, Aggregate]:
    """Return the aggregates of two sets of events, which must have none in common."""
    joined = dict(one)
    for key, row in other.items():
        joined[key] = merge_aggregates(joined[key], row) if key in joined else row
    return joined
