"""Statistics of a pass: what the footer of a customer's page says, over all time or a window."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from app.domain.events.events import INTERNAL_TYPES, SUBTRACTED_TYPES, Category, Event
from app.domain.values.decimals import ZERO, add, average, subtract

from .aggregates import Aggregates, fold

PURCHASE = "purchase"


class Period(StrEnum):
    """The current period of a calendar, in a time zone."""

    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    QUARTER = "QUARTER"
    YEAR = "YEAR"


@dataclass(frozen=True, slots=True)
class TypeRow:
    """One type and currency: how many, and over the amounts sum, average (half-even, 6 places), least and greatest.

    The four are None where no event of the row has an amount. Instants are in ms.
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
    """One currency: what was bought, what came back, the difference, and the number of purchases."""

    currency: str
    gross: Decimal
    refunded: Decimal
    net: Decimal
    orders: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """Rows by type and currency, and by currency, each sorted by name."""

    event_count: int
    first_ms: int | None
    last_ms: int | None
    by_type: tuple[TypeRow, ...]
    spend: tuple[SpendRow, ...]


def statistics(aggregates: Aggregates, types: Collection[str] | None = None) -> Statistics:
    """The statistics that a pass's aggregates hold; of some types only, where `types` names them.

    What Punchcard records itself does not count.
    """
    rows = [
        TypeRow(
            kind,
            row.category,
            currency,
            row.count,
            None if row.min is None else row.sum,
            None if row.min is None else average(row.sum, row.count),
            row.min,
            row.max,
            row.first_ms,
            row.last_ms,
        )
        for (kind, currency), row in sorted(aggregates.items(), key=lambda item: (item[0][0], item[0][1] or ""))
        if kind not in INTERNAL_TYPES and (types is None or kind in types)
    ]
    return Statistics(
        sum(row.count for row in rows),
        min((row.first_ms for row in rows), default=None),
        max((row.last_ms for row in rows), default=None),
        tuple(rows),
        tuple(_spend(rows)),
    )


def statistics_of(events: Iterable[Event], types: Collection[str] | None = None) -> Statistics:
    """The statistics of these events alone."""
    return statistics(fold({}, events), types)


def _spend(rows: Iterable[TypeRow]) -> Iterable[SpendRow]:
    found: dict[str, SpendRow] = {}
    for row in rows:
        if row.currency is None or row.sum is None or row.type not in (PURCHASE, *SUBTRACTED_TYPES):
            continue
        before = found.get(row.currency, SpendRow(row.currency, ZERO, ZERO, ZERO, 0))
        bought = row.type == PURCHASE
        gross = add(before.gross, row.sum) if bought else before.gross
        refunded = before.refunded if bought else add(before.refunded, row.sum)
        orders = before.orders + (row.count if bought else 0)
        found[row.currency] = SpendRow(row.currency, gross, refunded, subtract(gross, refunded), orders)
    return (found[currency] for currency in sorted(found))


def period_of(now: datetime, period: Period, zone: ZoneInfo, week_start: int) -> tuple[datetime, datetime]:
    """The current period as [start, end), in the zone. `week_start` is 0 for Monday to 6 for Sunday."""
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
