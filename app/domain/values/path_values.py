"""Values at one path of a JSON document, prepared so that many conditions and sums read the document once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import cached_property

from .decimals import ZERO, add_exactly, read_number
from .json_values import keep_numbers

_SEPARATOR = "\ud800"
"""A character that no operand contains, because unpaired surrogates are refused."""


class PathValues:
    """Values at one path. A list of 16,000 values costs 500 conditions little more than it costs one."""

    def __init__(self, values: Iterable[object]) -> None:
        self.values: Sequence[object] = tuple(values)

    @cached_property
    def booleans(self) -> frozenset[object]:
        """The values that are true or false. True equals 1 in Python, so they have a set of their own."""
        return frozenset(value for value in self.values if isinstance(value, bool))

    @cached_property
    def plain(self) -> frozenset[object]:
        """The texts and numbers, as metadata keeps them."""
        return frozenset(
            keep_numbers(value) if isinstance(value, (int, Decimal)) else value
            for value in self.values
            if isinstance(value, (str, int, float, Decimal)) and not isinstance(value, bool)
        )

    @cached_property
    def text_bounds(self) -> tuple[str, str] | None:
        """The first and the last text by code point; None without a text."""
        texts = [value for value in self.plain if isinstance(value, str)]
        return (min(texts), max(texts)) if texts else None

    @cached_property
    def number_bounds(self) -> tuple[int | float, int | float] | None:
        """The smallest and the largest number; None without a number."""
        numbers = [value for value in self.plain if isinstance(value, (int, float))]
        return (min(numbers), max(numbers)) if numbers else None

    @cached_property
    def joined_texts(self) -> str:
        """All texts in one, between separators. A text that an operand names lies in it if it lies in one of them."""
        return _SEPARATOR.join(value for value in self.values if isinstance(value, str))

    @cached_property
    def numbers(self) -> Sequence[Decimal]:
        """The numbers, exactly, including texts that hold a number."""
        return [number for number in map(read_number, self.values) if number is not None]

    @cached_property
    def total(self) -> Decimal:
        """The exact sum of the numbers."""
        total = ZERO
        for number in self.numbers:
            total = add_exactly(total, number)
        return total
