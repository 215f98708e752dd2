"""Median of whole numbers, exact."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal


def median(numbers: Sequence[int]) -> Decimal | None:
    """Return the middle of the numbers, or half the sum of the two in the middle; None without numbers."""
    if not numbers:
        return None
    ordered = sorted(numbers)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return Decimal(ordered[middle])
    return Decimal(ordered[middle - 1] + ordered[middle]) / 2
