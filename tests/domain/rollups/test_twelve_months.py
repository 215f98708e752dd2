"""Sums of twelve months of a pass bound what it has in any twelve months that end a month before its last one, or later."""

from __future__ import annotations

from decimal import Decimal
from random import Random

import pytest

from app.domain.rollups.periods import ALL_MONTHS, LAST_MONTH, earlier_month, months_between
from app.domain.rollups.twelve_months import TwelveMonths, months_to_sum, sum_twelve_months

MONTHS = months_between(202401, 202612)


def random_months(random: Random) -> dict[int, dict[str, Decimal]]:
    """Return values of two measures with gaps and refunds. A month may have events and no value."""
    return {
        month: {name: Decimal(random.randrange(-40, 99)) for name in ("EUR", "USD") if random.random() < 0.7}
        for month in MONTHS[:30]
        if random.random() < 0.5
    }


@pytest.mark.parametrize("seed", range(40))
def test_sums_of_twelve_months_bound_the_values_of_each_such_time(seed: int) -> None:
    values = random_months(Random(seed))
    last = max(values)
    kept = {month: own for month, own in values.items() if month >= earlier_month(last, 12)}
    sums = sum_twelve_months(kept)
    for measure in ("EUR", "USD"):
        found = sums.get(measure, TwelveMonths(Decimal(0), Decimal(0), Decimal(0)))
        for number in range(-1, 11):
            end = earlier_month(last, -number)
            months = months_between(earlier_month(end, 11), end)
            value = sum((values.get(month, {}).get(measure, Decimal(0)) for month in months), Decimal(0))
            if number <= 0:
                assert max(value, 0) == (found.before if number else found.ending)
            else:
                assert value <= found.later


def test_nothing_is_kept_of_passes_and_measures_without_a_sum_above_0() -> None:
    assert sum_twelve_months({}) == {}
    months = {202501: {"EUR": Decimal(5), "USD": Decimal(-5)}, 202512: {"EUR": Decimal(-7)}}
    assert sum_twelve_months(months) == {"EUR": TwelveMonths(Decimal(0), Decimal(5), Decimal(0))}
    assert sum_twelve_months({202501: {"EUR": Decimal(-5)}}) == {}


def test_months_to_sum_are_those_of_a_year_before_the_last_clean_one() -> None:
    sealed = [202403, 202404, 202501, 202503, 202504]
    assert months_to_sum(sealed, {202505}) == [202404, 202501, 202503, 202504]
    assert months_to_sum(sealed, {202504}) == [202403, 202404, 202501, 202503], "April may have no event any more"
    assert months_to_sum(sealed, {202404}) == [202501, 202503, 202504]
    assert months_to_sum(sealed, {202403}) is None, "no sum has this month"
    assert months_to_sum(sealed, {LAST_MONTH}) == [202404, 202501, 202503, 202504]
    assert months_to_sum(sealed, {ALL_MONTHS}) == months_to_sum([], {202501}) == months_to_sum([202501], {202501}) == []


@pytest.mark.parametrize(
    ("month", "number", "expected"), [(202503, 3, 202412), (202503, 12, 202403), (202412, -1, 202501)]
)
def test_earlier_month_counts_over_years(month: int, number: int, expected: int) -> None:
    assert earlier_month(month, number) == expected
