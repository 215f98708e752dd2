"""Statistics of a pass, by event type and by currency, over all time or a window of time."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from app.domain.events.events import INTERNAL_TYPES, SUBTRACTED_TYPES, Category, Event
from app.domain.values.decimals import ZERO, add, average, subtract

from .aggregates import Aggregates, fold_events

PURCHASE = "purchase"


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
class SpendRow:
    """Spend in one currency.

    `gross` is the sum of purchases, and `refunded` is the sum of refunds and credits. `net` is `gross` less `refunded`.
    `orders` is the number of purchases.
    """

    currency: str
    gross: Decimal
    refunded: Decimal
    net: Decimal
    orders: int


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


def build_statistics(aggregates: Aggregates, types: Collection[str] | None = None) -> Statistics:
    """Return the statistics of a pass from its aggregates, for all event types or only for `types`.

    Internal events do not count.
    """
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
        for (kind, currency), row in sorted(aggregates.items(), key=lambda item: (item[0][0], item[0][1] or ""))
        if kind not in INTERNAL_TYPES and (types is None or kind in types)
    ]
    return Statistics(
        sum(row.count for row in rows),
        min((row.first_ms for row in rows), default=None),
        max((row.last_ms for row in rows), default=None),
        by_type=tuple(rows),
        spend=tuple(_iter_spend(rows)),
    )


def build_event_statistics(events: Iterable[Event], types: Collection[str] | None = None) -> Statistics:
    """Return the statistics of these events, for all event types or only for `types`."""
    return build_statistics(fold_events({}, events), types)


def _iter_spend(rows: Iterable[TypeRow]) -> Iterable[SpendRow]:
    by_currency: dict[str, SpendRow] = {}
    for row in rows:
        if row.currency is None or row.sum is None or row.type not in (PURCHASE, *SUBTRACTED_TYPES):
            continue
        before = by_currency.get(row.currency, SpendRow(row.currency, ZERO, ZERO, net=ZERO, orders=0))
        is_purchase = row.type == PURCHASE
        gross = add(before.gross, row.sum) if is_purchase else before.gross
        refunded = before.refunded if is_purchase else add(before.refunded, row.sum)
        orders = before.orders + (row.count if is_purchase else 0)
        by_currency[row.currency] = SpendRow(
            row.currency, gross, refunded, net=subtract(gross, refunded), orders=orders
        )
    return (by_currency[currency] for currency in sorted(by_currency))


def period_of(now: datetime, period: Period, zone: ZoneInfo, week_start: int) -> tuple[datetime, datetime]:
    """Return the period that contains `now`, as [start, end) in the zone.

    `week_start` is a weekday from 0 (Monday) to 6 (Sunday).
    """
    today = now.astimezone(zone).date()
    match period:
        case Period.DAY:
            start, end = today, today + timedelta(days=1)
        case Period.WEEK:
            start = today - timedelta(days=(today.weekday() - week_start) % 7)
            end = start + timedelta(days=7)
        case Period.MONTH | Period.QUARTER:
            months = 1 if period is Period.MONTH else 3
            start = today.replace(day=1, month=(today.month - 1) // months * months + 1)
            end = (start + timedelta(days=31 * months)).replace(day=1)
        case Period.YEAR:
            start = today.replace(day=1, month=1)
            end = start.replace(year=start.year + 1)
    midnight = datetime.min.time()
    return datetime.combine(start, midnight, zone), datetime.combine(end, midnight, zone)
