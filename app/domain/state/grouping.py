"""Groups of events, computed from the events one by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from app.domain.events.events import Event
from app.domain.values.decimals import ZERO, add_exactly, average

from .aggregations import Aggregation, Function, Group, Key


class Grouping:
    """Groups of the events of an aggregation that were added so far.

    The store computes the same groups itself, except for fields of the metadata, which it cannot read as exact numbers.
    """

    def __init__(self, aggregation: Aggregation) -> None:
        self._aggregation = aggregation
        self._numbers: dict[Key, list[Decimal]] = {}
        self._passes: dict[Key, list[str]] = {}

    @property
    def size(self) -> int:
        """The number of groups."""
        return len(self._numbers)

    def add(self, events: Iterable[Event]) -> None:
        """Add events."""
        for event in events:
            numbers = self._aggregation.numbers(event)
            if numbers:
                for key in self._aggregation.keys(event):
                    self._numbers.setdefault(key, []).extend(numbers)
                    self._passes.setdefault(key, []).append(event.pass_id)

    def compute(self) -> list[Group]:
        """Return the groups, in no particular order."""
        return [
            Group(key, len(self._passes[key]), _compute(self._aggregation.function, numbers, self._passes[key]))
            for key, numbers in self._numbers.items()
        ]


def _compute(function: Function, numbers: Sequence[Decimal], passes: Sequence[str]) -> Decimal:
    """Return the value over the numbers of a group. `passes` has the pass of each event that counts."""
    if function is Function.COUNT_PASSES:
        return Decimal(len(set(passes)))
    if function is Function.COUNT:
        return Decimal(len(passes))
    if function is Function.MIN:
        return min(numbers)
    if function is Function.MAX:
        return max(numbers)
    total = ZERO
    for number in numbers:
        total = add_exactly(total, number)
    return total if function is Function.SUM else average(total, len(numbers))
