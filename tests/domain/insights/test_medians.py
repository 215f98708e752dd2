"""Medians of whole numbers."""

from __future__ import annotations

from decimal import Decimal

from app.domain.insights.medians import median


def test_median_is_the_middle_or_the_mean_of_the_two_in_the_middle() -> None:
    assert median([]) is None
    assert median([3, 1, 2]) == 2
    assert median([10, 1, 2, 3]) == Decimal("2.5")
