"""What counts of one pass in a month or year of UTC: the sums from which questions about customers are answered.

A period is a number: 202503 is March 2025, and 2025 is the year. So the order of numbers is that of time among months, and
among years.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b

from app.domain.events.events import INTERNAL_TYPES, Event
from app.domain.state.aggregates import Aggregates, fold_events, join_aggregates
from app.domain.state.earned import earned_points, spent_points
from app.domain.state.statistics import build_statistics
from app.domain.values.decimals import ZERO, add

ALL_MONTHS = 0
"""Mark of a pass of which all months must be sealed: an earlier version counted its events."""
LAST_MONTH = 1_000_000
"""Mark of a pass whose last month must be sealed: an earlier version sealed it without sums of twelve months.

It is after all months, so no question reads such a pass from events.
"""
COUNT, POINTS, SPEND = "COUNT", "POINTS", "SPEND:"
"""Measures by which passes are compared: events of the customer, points earned, and net spend in a currency, whose code
follows the prefix."""


def month_of(at: datetime) -> int:
    """Return the month of an instant in UTC."""
    return at.year * 100 + at.month


def year_of(month: int) -> int:
    """Return the year of a month."""
    return month // 100


def months_of(year: int) -> list[int]:
    """Return the months of a year."""
    return [year * 100 + number for number in range(1, 13)]


def months_between(first: int, last: int) -> list[int]:
    """Return the months from one to another, both included."""
    return [
        month
        for year in range(year_of(first), year_of(last) + 1)
        for month in months_of(year)
        if first <= month <= last
    ]


def earlier_month(month: int, number: int) -> int:
    """Return the month that is a number of months before another one."""
    year, index = divmod(year_of(month) * 12 + month % 100 - 1 - number, 12)
    return year * 100 + index + 1


def is_month(period: int) -> bool:
    """Return whether a period is a month, not a year."""
    return period > 9_999


def bounds_of(period: int) -> tuple[datetime, datetime]:
    """Return the start of a month or year, and its end, which is exclusive."""
    if not is_month(period):
        return datetime(period, 1, 1, tzinfo=UTC), datetime(period + 1, 1, 1, tzinfo=UTC)
    year, month = divmod(period, 100)
    following = (year, month + 1) if month < 12 else (year + 1, 1)
    return datetime(year, month, 1, tzinfo=UTC), datetime(*following, 1, tzinfo=UTC)


def changes_month(event: Event) -> bool:
    """Return whether an event counts in the month of a pass. Internal events do not."""
    return event.type not in INTERNAL_TYPES


def token_of(write_id: str) -> int:
    """Return the token of what counts in a pass after the write with this random id, from 1 to 2^48."""
    return 1 + int.from_bytes(blake2b(write_id.encode(), digest_size=6).digest(), "big")


@dataclass(frozen=True, slots=True)
class PassPeriod:
    """Sums of the events of one pass that lie in one month or year.

    `aggregates` are those of the customer's events, `made` those of the events that walks made. `earned` and `spent` are
    points.
    """

    aggregates: Aggregates = field(default_factory=dict)
    made: Aggregates = field(default_factory=dict)
    earned: Decimal = ZERO
    spent: Decimal = ZERO

    @property
    def count(self) -> int:
        """The number of the customer's events."""
        return sum(row.count for row in self.aggregates.values())

    @property
    def is_empty(self) -> bool:
        """Whether no event lies in the period."""
        return not (self.aggregates or self.made)

    def values(self) -> dict[str, Decimal]:
        """Return the value of each measure by which the pass is compared with others, without those that are 0."""
        spend = build_statistics(self.aggregates, made=self.made).spend
        found = {COUNT: Decimal(self.count), POINTS: self.earned} | {SPEND + row.currency: row.net for row in spend}
        return {measure: value for measure, value in found.items() if value}

    def __add__(self, other: PassPeriod) -> PassPeriod:
        """Return the sums of both sets of events, which must have none in common."""
        return PassPeriod(
            aggregates=join_aggregates(self.aggregates, other.aggregates),
            made=join_aggregates(self.made, other.made),
            earned=add(self.earned, other.earned),
            spent=add(self.spent, other.spent),
        )


def sum_period(events: Iterable[Event]) -> PassPeriod:
    """Return the sums of the events of one pass and period, less internal ones."""
    counted = [event for event in events if changes_month(event)]
    earned = spent = ZERO
    for event in counted:
        if event.points:
            earned, spent = add(earned, earned_points(event)), add(spent, spent_points(event))
    return PassPeriod(
        aggregates=fold_events({}, (event for event in counted if not event.is_made)),
        made=fold_events({}, (event for event in counted if event.is_made)),
        earned=earned,
        spent=spent,
    )


def sum_months(events: Iterable[Event]) -> dict[int, PassPeriod]:
    """Return the sums of the events of one pass by month. A month without such an event is left out."""
    by_month: dict[int, list[Event]] = {}
    for event in events:
        if changes_month(event):
            by_month.setdefault(month_of(event.occurred_at), []).append(event)
    return {month: sum_period(found) for month, found in by_month.items()}


def sum_years(months: Mapping[int, PassPeriod]) -> dict[int, PassPeriod]:
    """Return the sums of each year from those of its months."""
    years: dict[int, PassPeriod] = {}
    for month in sorted(months):
        years[year_of(month)] = years.get(year_of(month), PassPeriod()) + months[month]
    return years
