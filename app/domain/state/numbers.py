"""Numbers that measures add up: counts, which are integers, decimals, which are added exactly, and means of decimals."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from app.domain.values.decimals import add_exactly, average, subtract_exactly

Number = int | Decimal
"""A count, or a decimal."""


@dataclass(frozen=True, slots=True)
class Mean:
    """Exact sum of the values that an average is over, and their number."""

    total: Decimal
    count: int

    @property
    def value(self) -> Decimal | None:
        """The average, rounded half-even to 6 decimal places; None without values."""
        return average(self.total, self.count) if self.count else None


Weight = Number | Mean
"""What one event, or one instant, adds to a measure."""


def add_numbers(a: Weight, b: Weight) -> Weight:
    """Return the exact sum of two counts, decimals or means."""
    if isinstance(a, Mean) or isinstance(b, Mean):
        assert isinstance(a, Mean)
        assert isinstance(b, Mean)
        return Mean(add_exactly(a.total, b.total), a.count + b.count)
    return a + b if isinstance(a, int) and isinstance(b, int) else add_exactly(Decimal(a), Decimal(b))


def subtract_numbers(a: Weight, b: Weight) -> Weight:
    """Return the exact difference of two counts, decimals or means."""
    if isinstance(a, Mean) or isinstance(b, Mean):
        assert isinstance(a, Mean)
        assert isinstance(b, Mean)
        return Mean(subtract_exactly(a.total, b.total), a.count - b.count)
    if isinstance(a, int) and isinstance(b, int):
        return a - b
    return subtract_exactly(Decimal(a), Decimal(b))


def plain_number(value: Weight) -> Number:
    """Return a count or a decimal of a measure that holds no mean."""
    assert not isinstance(value, Mean)
    return value
