"""Events that leave a window, as (instant in ms, what the events of that instant weigh together)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Protocol

from app.domain.events.events import Event

from .numbers import Weight

Expiring = tuple[int, Weight]
"""An instant in ms, and the weight of all events of that instant."""


class Weighing(Protocol):
    """Measure whose events leave a window."""

    def matches(self, event: Event) -> bool:
        """Return whether the event counts in the measure."""

    def weight(self, event: Event) -> Weight | None:
        """Return what one matching event adds; None if it has no value."""

    def join(self, a: Weight, b: Weight) -> Weight:
        """Return the weight of two events together."""


def group_expiring(measure: Weighing, events: Iterable[Event]) -> list[Expiring]:
    """Return the pairs of the matching events, ascending. `events` are in order of occurrence."""
    pairs: list[Expiring] = []
    for event in events:
        if measure.matches(event) and (weight := measure.weight(event)) is not None:
            at = event.occurred_ms
            if pairs and pairs[-1][0] == at:
                pairs[-1] = (at, measure.join(pairs[-1][1], weight))
            else:
                pairs.append((at, weight))
    return pairs


def append_expiring(measure: Weighing, pairs: Sequence[Expiring], later: Sequence[Expiring]) -> list[Expiring]:
    """Return the pairs of two lists of `group_expiring`, of which the second continues the first."""
    if pairs and later and pairs[-1][0] == later[0][0]:
        at_ms, weight = later[0]
        return [*pairs[:-1], (at_ms, measure.join(pairs[-1][1], weight)), *later[1:]]
    return [*pairs, *later]


def merge_expiring(measure: Weighing, pairs: Sequence[Expiring], others: Sequence[Expiring]) -> list[Expiring]:
    """Return the pairs of two lists of `group_expiring` in one, of different events in any order."""
    merged = dict(pairs)
    for at_ms, weight in others:
        merged[at_ms] = measure.join(merged[at_ms], weight) if at_ms in merged else weight
    return sorted(merged.items(), key=lambda pair: pair[0])


def decimal_pairs(pairs: Sequence[Expiring]) -> list[tuple[int, Decimal]]:
    """Return the pairs of a measure whose weights are decimals."""
    return [(at_ms, weight) for at_ms, weight in pairs if isinstance(weight, Decimal)]
