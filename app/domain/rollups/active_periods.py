"""Months and years whose numbers of active and new passes change when the sealed months of one pass change."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from .periods import ALL_MONTHS, LAST_MONTH, is_month, year_of

ALL_PERIODS = ALL_MONTHS
"""Stands for all months and years."""


def changed_periods(before: Collection[int], after: Collection[int]) -> frozenset[int]:
    """Return the months and years whose numbers differ if the active periods of a pass were `before` and are `after`.

    A pass counts as active in each of them, and as new in the first month and its year.
    """
    changed = {*before} ^ {*after}
    firsts = {first_month(before), first_month(after)}
    if len(firsts) > 1:
        changed |= with_years(month for month in firsts if month is not None)
    return frozenset(changed)


def periods_of_ended(active: Collection[int], dirty_months: Collection[int]) -> frozenset[int]:
    """Return the months and years in which a pass may count until it ends.

    Its dirty months may be sealed until then, and count afterwards.
    """
    if ALL_MONTHS in dirty_months:
        return frozenset({ALL_PERIODS})
    return frozenset({*active, *with_years({*dirty_months} - {LAST_MONTH})})


def first_month(active: Collection[int]) -> int | None:
    """Return the first month among active periods; None without one. In it, and in its year, a pass counts as new."""
    return min(filter(is_month, active), default=None)


def with_years(months: Iterable[int]) -> set[int]:
    """Return months and their years."""
    return {period for month in months for period in (month, year_of(month))}
