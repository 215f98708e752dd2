"""Numbers that measures add up: counts, which are integers, and decimals, which are added exactly."""

from __future__ import annotations

from decimal import Decimal

from app.domain.values.decimals import add_exactly, subtract_exactly

Number = int | Decimal
"""A count, or a decimal."""


def add_numbers(a: Number, b: Number) -> Number:
    """Return the exact sum of two counts or decimals."""
    return a + b if isinstance(a, int) and isinstance(b, int) else add_exactly(Decimal(a), Decimal(b))


def subtract_numbers(a: Number, b: Number) -> Number:
    """Return the exact difference of two counts or decimals."""
    if isinstance(a, int) and isinstance(b, int):
        return a - b
    return subtract_exactly(Decimal(a), Decimal(b))
