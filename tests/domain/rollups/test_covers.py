"""Covers of time: the months and years whose sums are those of a span."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

from app.domain.rollups.covers import cover
from app.domain.rollups.periods import months_between


def test_each_way_to_sum_gives_the_sum_of_the_used_months_that_are_not_stale() -> None:
    random, months = Random(3), months_between(202401, 202512)
    found = cover(datetime(2024, 11, 1, tzinfo=UTC), datetime(2025, 11, 1, tzinfo=UTC))
    for _ in range(200):
        values = {month: random.randrange(-5, 50) for month in months if random.random() < 0.6}
        for year in {month // 100 for month in values}:
            values[year] = sum(value for month, value in values.items() if month // 100 == year)
        stale = {month for month in months if random.random() < random.choice((0, 0.1))}
        expected = sum(values.get(month, 0) for month in found.months if month not in stale)
        for index in (0, -1):
            chosen = [year.ways_to_sum(values, stale)[index] for year in found.years]
            added = sum(values[period] for each in chosen for period in each.added)
            assert added - sum(values[period] for each in chosen for period in each.taken) == expected
