"""Funnels: how many customers take each of several steps, one after the other, within some time.

A start is an event of the first step in the period. From each start, every further step is taken by the next event of that
step, if that lies at most `within_ms` after the start. A customer counts with the start that leads to the most steps, and
with the earliest one of these.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from app.domain.values.decimals import average

from .medians import median
from .moments import Moment

MIN_FUNNEL_STEPS, MAX_FUNNEL_STEPS = 2, 10
"""Steps of a funnel."""
Order = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class FunnelStep:
    """Customers who took a step, and their share of those who took the first one, rounded half-even to 6 places.

    `median_seconds` is the median time since the step before; None for the first step, and without customers.
    """

    passes: int
    rate: Decimal | None
    median_seconds: Decimal | None


class Funnel:
    """Steps that customers took. Starts lie in [from_ms, to_ms). Give it the moments up to `within_ms` after the period."""

    def __init__(self, steps: int, within_ms: int, *, from_ms: int, to_ms: int) -> None:
        self._steps, self._within_ms, self._from_ms, self._to_ms = steps, within_ms, from_ms, to_ms
        self._taken: dict[str, list[list[Order]]] = {}

    def add(self, step: int, moments: Iterable[Moment]) -> None:
        """Add the moments that match a step, in any order. Steps are numbered from 0."""
        for moment in moments:
            taken = self._taken.get(moment.pass_id)
            if taken is None:
                taken = self._taken[moment.pass_id] = [[] for _ in range(self._steps)]
            taken[step].append(moment.order)

    def answer(self) -> tuple[FunnelStep, ...]:
        """Return the steps in their order."""
        times: list[list[int]] = [[] for _ in range(self._steps)]
        for taken in self._taken.values():
            path = self._longest_path([sorted(orders) for orders in taken])
            for step, order in enumerate(path):
                times[step].append(order[0] - path[step - 1][0] if step else 0)
        return tuple(self._step(times, step) for step in range(self._steps))

    def _longest_path(self, taken: Sequence[Sequence[Order]]) -> list[Order]:
        longest: list[Order] = []
        for start in taken[0]:
            if not self._from_ms <= start[0] < self._to_ms:
                continue
            path = self._follow(start, taken)
            if len(path) > len(longest):
                longest = path
            if len(longest) == self._steps:
                break
        return longest

    def _follow(self, start: Order, taken: Sequence[Sequence[Order]]) -> list[Order]:
        path = [start]
        for orders in taken[1:]:
            index = bisect_right(orders, path[-1])
            if index == len(orders) or orders[index][0] - start[0] > self._within_ms:
                break
            path.append(orders[index])
        return path

    def _step(self, times: Sequence[Sequence[int]], step: int) -> FunnelStep:
        passes, starts = len(times[step]), len(times[0])
        middle_ms = median(times[step]) if step else None
        return FunnelStep(
            passes,
            average(Decimal(passes), starts) if starts else None,
            None if middle_ms is None else middle_ms / 1_000,
        )
