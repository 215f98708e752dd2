"""Statistics of a pass, by event type and by currency, over all time or a window of time."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from itertools import chain
from types import MappingProxyType
from zoneinfo import ZoneInfo

from app.domain.events.events import CHECKOUT, CHECKOUT_DIFFERENCES, INTERNAL_TYPES, Category
from app.domain.events.spend import SPEND_CATEGORY
from app.domain.values.decimals import average
from app.domain.values.instants import from_ms, to_ms
from app.domain.values.periods import PeriodUnit, period_days
from app.domain.values.zones import days_of

from .aggregates import Aggregate, AggregateKey, Aggregates, join_aggregates
from .spend import SpendPart, SpendRow, sum_spend


class Period(StrEnum):
    """Current period of the calendar: the one that contains the present instant, in a time zone."""

    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    QUARTER = "QUARTER"
    YEAR = "YEAR"


@dataclass(frozen=True, slots=True)
class TypeRow:
    """Statistics of one event type and currency. `average` is rounded half-even to 6 places; instants are in ms.

    `sum`, `average`, `min` and `max` are None if no event of the row has an amount.
    """

    type: str
    category: Category
    currency: str | None
    count: int
    sum: Decimal | None
    average: Decimal | None
    min: Decimal | None
    max: Decimal | None
    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of events: rows by type and currency, and rows by currency, both sorted by name.

    Instants are in ms.
    """

    event_count: int
    first_ms: int | None
    last_ms: int | None
    by_type: tuple[TypeRow, ...]
    spend: tuple[SpendRow, ...]


def build_statistics(
    aggregates: Aggregates, types: Collection[str] | None = None, *, made: Aggregates = MappingProxyType({})
) -> Statistics:
    """Return the statistics of a pass from its aggregates, for all event types or only for `types`.

    Internal events do not count. The amounts of `made`, the events that walks made, count in spend; the events themselves
    count only if `types` names their type, because no customer acted.
    """
    recorded = _select(aggregates, types)
    by_walks = _select(made, types)
    named = {} if types is None else {key: row for key, row in by_walks.items() if key[0] not in CHECKOUT_DIFFERENCES}
    included = dict(sorted(join_aggregates(recorded, named).items(), key=lambda item: (item[0][0], item[0][1] or "")))
    rows = [
        TypeRow(
            kind,
            row.category,
            currency,
            count=row.count,
            sum=None if row.min is None else row.sum,
            average=None if row.min is None else average(row.sum, row.count),
            min=row.min,
            max=row.max,
            first_ms=row.first_ms,
            last_ms=row.last_ms,
        )
        for (kind, currency), row in included.items()
    ]
    return Statistics(
        sum(row.count for row in rows),
        min((row.first_ms for row in rows), default=None),
        max((row.last_ms for row in rows), default=None),
        by_type=tuple(rows),
        spend=tuple(sum_spend(chain(_iter_parts(recorded, are_orders=True), _iter_parts(by_walks, are_orders=False)))),
    )


def _select(aggregates: Aggregates, types: Collection[str] | None) -> dict[AggregateKey, Aggregate]:
    """Return the rows of types that are not internal. The differences of a checkout belong to its type."""
    return {
        (kind, currency): row
        for (kind, currency), row in aggregates.items()
        if (kind in CHECKOUT_DIFFERENCES or kind not in INTERNAL_TYPES)
        and (types is None or (CHECKOUT if kind in CHECKOUT_DIFFERENCES else kind) in types)
    }


def _iter_parts(aggregates: Aggregates, *, are_orders: bool) -> Iterable[SpendPart]:
    """Yield what rows add to spend. `are_orders` is False for events that walks made."""
    for (kind, currency), row in aggregates.items():
        count = row.count if are_orders else 0
        yield SpendPart(kind, currency, row.spent, count=count, is_transaction=row.category is SPEND_CATEGORY)


def period_of(now: datetime, period: Period, zone: ZoneInfo, week_start: int) -> tuple[datetime, datetime]:
    """Return the period that contains `now`, as [start, end) in UTC.

    `week_start` is a weekday from 0 (Monday) to 6 (Sunday).
    """
    days = days_of(zone)
    first, after = period_days(days.day_of(to_ms(now)), PeriodUnit(period), week_start)
    return from_ms(days.start_ms(first)), from_ms(days.start_ms(after))
