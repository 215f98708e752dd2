"""An oracle of local time: plain `zoneinfo` arithmetic over all events. It shares no code with the product."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Casablanca")


class Sale(NamedTuple):
    """An event as the oracle knows it."""

    at_ms: int
    amount: Decimal | None
    source: str

    @property
    def value(self) -> Decimal:
        """The amount, or 0 without one."""
        return self.amount or Decimal(0)


def _amounts(sales: Sequence[Sale]) -> list[Decimal]:
    return [sale.amount for sale in sales if sale.amount is not None]


METRICS: Mapping[str, Callable[[Sequence[Sale]], Decimal | None]] = {
    "COUNT": lambda sales: Decimal(len(sales)),
    "SUM": lambda sales: sum((sale.value for sale in sales), Decimal(0)),
    "AVG": lambda sales: sum(_amounts(sales), Decimal(0)) / len(_amounts(sales)) if _amounts(sales) else None,
    "MIN": lambda sales: min(_amounts(sales), default=None),
    "MAX": lambda sales: max(_amounts(sales), default=None),
    "COUNT_DISTINCT": lambda sales: Decimal(len({sale.source for sale in sales})),
}
"""The metrics of amounts, and the number of different sources."""


@cache
def local_date(zone: str, at_ms: int) -> date:
    """Return the local date of an instant."""
    return datetime.fromtimestamp(at_ms // 1000, ZoneInfo(zone)).date()


def midnight_ms(zone: str, day: date) -> int:
    """Return the instant of a local midnight. No zone of ZONES changes its clocks at midnight."""
    local = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))
    return int(local.astimezone(UTC).timestamp()) * 1000


def midnights(zone: str, from_ms: int, to_ms: int) -> Iterator[int]:
    """Yield the local midnights after one instant and up to another."""
    day = local_date(zone, from_ms)
    while (at_ms := midnight_ms(zone, day)) <= to_ms:
        if at_ms > from_ms:
            yield at_ms
        day += timedelta(days=1)


def period_number(unit: str, day: date, week_start: int = 0) -> int:
    """Return the number of the period that a day lies in; those of periods in a row differ by 1."""
    match unit:
        case "DAY":
            return day.toordinal()
        case "WEEK":
            # 1 January of year 1 was a Monday.
            return (day.toordinal() - 1 - week_start) // 7
        case "MONTH":
            return day.year * 12 + day.month
        case "QUARTER":
            return day.year * 4 + (day.month - 1) // 3
    return day.year


def measure_in_windows(
    zone: str,
    unit: str,
    offset: int,
    *,
    metric: str,
    sales: Sequence[Sale],
    instants: Sequence[int],
    week_start: int = 0,
) -> list[Decimal | None]:
    """Return what a metric measures in the window of each instant, over the events until then."""
    by_period: dict[int, list[Sale]] = defaultdict(list)
    for sale in sales:
        by_period[period_number(unit, local_date(zone, sale.at_ms), week_start)].append(sale)
    return [
        METRICS[metric]([sale for sale in by_period.get(number + offset, ()) if sale.at_ms <= at_ms])
        for at_ms in instants
        for number in [period_number(unit, local_date(zone, at_ms), week_start)]
    ]


def streak_length(zone: str, unit: str, events: Sequence[int], at_ms: int, week_start: int = 0) -> int:
    """Return the number of units in a row with an event that end with the present unit or the one before it."""
    units = {period_number(unit, local_date(zone, each), week_start) for each in events if each <= at_ms}
    last = period_number(unit, local_date(zone, at_ms), week_start)
    if last not in units:
        last -= 1
    length = 0
    while last - length in units:
        length += 1
    return length


def has_anniversary(day: date, origin: tuple[int | None, int, int], unit: str, for_days: int, nth: int | None) -> bool:
    """Return whether a local day is one of the `for_days` days from an anniversary of (year, month, day) on."""
    return any(_is_anniversary(day - timedelta(days=back), origin, unit, nth) for back in range(for_days))


def _is_anniversary(day: date, origin: tuple[int | None, int, int], unit: str, nth: int | None) -> bool:
    year, month, day_of_month = origin
    is_last = (day + timedelta(days=1)).month != day.month
    if day.day != day_of_month and not (is_last and day.day < day_of_month):
        return False
    if unit == "YEAR" and day.month != month:
        return False
    if year is None:
        return nth is None
    passed = (day.year - year) * 12 + day.month - month
    number = passed // 12 if unit == "YEAR" else passed
    return number >= 1 and nth in (None, number)
