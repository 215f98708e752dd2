"""Comparison of the sealed months and years of a pass with its events."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from app.domain.fold.recomputation import Difference, compare_aggregates
from app.domain.rollups.periods import ALL_MONTHS, PassPeriod, is_month, sum_years, year_of
from app.domain.rollups.twelve_months import TwelveMonths, sum_twelve_months


@dataclass(frozen=True, slots=True)
class StoredPeriods:
    """What is sealed of a pass.

    - `sums` and `values`: those of each month and year that the pass names; values by measure.
    - `twelve`: the sums of twelve months, by the month that has them, and by measure.
    - `active`, `first_active`: the periods with an event of the customer, and the first month of them.
    - `dirty_months`: months whose sums count no more. The pass is sealed anew.
    """

    sums: Mapping[int, PassPeriod] = field(default_factory=dict)
    values: Mapping[int, Mapping[str, Decimal]] = field(default_factory=dict)
    twelve: Mapping[int, Mapping[str, TwelveMonths]] = field(default_factory=dict)
    active: Collection[int] = ()
    first_active: int | None = None
    dirty_months: Collection[int] = ()


def compare_periods(stored: StoredPeriods, months: Mapping[int, PassPeriod]) -> list[Difference]:
    """Return what is sealed otherwise than the events give. `months` has the sums of the events by month.

    Dirty months and their years are left out, and sums of twelve months if any month is dirty.
    """
    if ALL_MONTHS in stored.dirty_months:
        return []
    left_out = {*stored.dirty_months, *map(year_of, stored.dirty_months)}
    expected = {**months, **sum_years(months)}
    found: list[Difference] = []
    for period in sorted(expected.keys() | stored.sums.keys() | stored.values.keys()):
        if period not in left_out:
            rebuilt = expected.get(period, PassPeriod())
            found += _compare_sums(_name(period), stored.sums.get(period, PassPeriod()), rebuilt)
            found += _compare_values(_name(period), stored.values.get(period, {}), rebuilt.values())
    if not stored.dirty_months:
        found += _compare_twelve(stored.twelve, months)
    kept = {*stored.active} & left_out
    active = {period for period, sums in expected.items() if sums.count} - left_out | kept
    if {*stored.active} != active:
        found.append(Difference("the active periods", _names(stored.active), _names(active)))
    first = min(filter(is_month, active), default=None)
    if stored.first_active != first:
        found.append(Difference("the first active month", _names([stored.first_active]), _names([first])))
    return found


def _compare_sums(name: str, stored: PassPeriod, rebuilt: PassPeriod) -> Iterator[Difference]:
    for made, live, expected in (
        ("", stored.aggregates, rebuilt.aggregates),
        (", made by rules", stored.made, rebuilt.made),
    ):
        for each in compare_aggregates(expected, live):
            yield replace(each, what=f"{each.what}{made} in {name}")
    for what, points, expected_points in (
        ("the points earned", stored.earned, rebuilt.earned),
        ("the points spent", stored.spent, rebuilt.spent),
    ):
        if points != expected_points:
            yield Difference(f"{what} in {name}", str(points), str(expected_points))


def _compare_values(name: str, stored: Mapping[str, Decimal], rebuilt: Mapping[str, Decimal]) -> Iterator[Difference]:
    """Yield the differences of the values by which passes are ordered. One that is 0 may be stored, or not."""
    for measure in sorted(stored.keys() | rebuilt.keys()):
        live, expected = stored.get(measure, Decimal(0)), rebuilt.get(measure, Decimal(0))
        if live != expected:
            yield Difference(f"the value {measure} of {name}", str(live), str(expected))


def _compare_twelve(
    stored: Mapping[int, Mapping[str, TwelveMonths]], months: Mapping[int, PassPeriod]
) -> Iterator[Difference]:
    """Yield the differences of the sums of twelve months. Only the last month has them."""
    expected = sum_twelve_months({month: sums.values() for month, sums in months.items()})
    rebuilt = {max(months): expected} if expected else {}
    for month in sorted(stored.keys() | rebuilt.keys()):
        live_sums, expected_sums = stored.get(month, {}), rebuilt.get(month, {})
        for measure in sorted(live_sums.keys() | expected_sums.keys()):
            live, other = live_sums.get(measure), expected_sums.get(measure)
            if live != other:
                what = f"twelve months of {measure} in {_name(month)}"
                yield Difference(what, _list_sums(live), _list_sums(other))


def _list_sums(sums: TwelveMonths | None) -> str:
    return "none" if sums is None else ", ".join(map(str, sums))


def _name(period: int) -> str:
    return f"{period // 100}-{period % 100:02}" if is_month(period) else str(period)


def _names(periods: Iterable[int | None]) -> str:
    return ", ".join(_name(period) for period in sorted(each for each in periods if each is not None)) or "none"
