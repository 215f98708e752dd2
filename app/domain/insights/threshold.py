"""The greatest sums of values that lie in several lists, found without reading the lists to their ends.

Each list has values of passes, the greatest first. The caller reads the lists and the exact sums of passes; this module
says what to read next. (Source: R. Fagin, A. Lotem, M. Naor, "Optimal aggregation algorithms for middleware", 2003.)
"""

from __future__ import annotations

import functools
import heapq
from bisect import insort
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from app.domain.values.decimals import ZERO, add

UNREAD = Decimal("Infinity")
"""Bound of a list of which nothing was read."""
VALUES_PER_SUM = 5
"""Values that are read for each wanted pass before exact sums are asked for. With fewer lists, as many as lists."""
MIN_DECIDED_AT_ONCE = 50
"""Passes whose exact sums one step asks for, as far as there are so many. Fewer would cost as many round trips."""


class TopPass(NamedTuple):
    """Pass with its value."""

    pass_id: str
    value: Decimal


@dataclass(frozen=True, slots=True)
class Read:
    """Step: read more of a list, and call `take`."""

    number: int


@dataclass(frozen=True, slots=True)
class Decide:
    """Step: read the exact sums of passes, and call `decide`."""

    pass_ids: tuple[str, ...]


class ThresholdOrder:
    """Passes by their sums above 0, the greatest first, found as far as it is asked for.

    `found` has the passes with their sums. Among equal sums, a pass that is found later comes later. A list may have a value
    that is not valid any more, if it also has the valid one or that is less than its bound. A pass whose sum turns out
    to be greater than the last one in `found` has changed since, and is left out.
    """

    def __init__(self, lists: int) -> None:
        self.found: list[TopPass] = []
        self._bounds = [UNREAD] * lists
        # Of each pass that was read and is not decided: the sum of what was read, and the lists as the bits of a number.
        self._read: dict[str, tuple[Decimal, int]] = {}
        # The same passes by the greatest sum that was possible when this was last computed.
        self._possible: list[tuple[Decimal, str]] = []
        self._decided: set[str] = set()
        self._exact: list[tuple[Decimal, str]] = []
        # Values that were read since sums were asked for last.
        self._taken = 0

    @property
    def size(self) -> int:
        """The number of passes that it holds."""
        return len(self._read) + len(self._decided)

    def take(self, number: int, values: Iterable[tuple[str, Decimal]], bound: Decimal) -> None:
        """Take the next values of a list. No later one is greater than `bound`, which is 0 if all above 0 were read."""
        bit = 1 << number
        self._bounds[number] = bound
        for pass_id, value in values:
            if pass_id in self._decided:
                continue
            total, lists = self._read.get(pass_id, (ZERO, 0))
            # Of several values of a pass in a list, at most one is valid. The first is the greatest.
            self._taken += 1
            if not lists & bit:
                if not lists:
                    heapq.heappush(self._possible, (-UNREAD, pass_id))
                self._read[pass_id] = add(total, value), lists | bit

    def decide(self, pass_ids: Collection[str], sums: Mapping[str, Decimal]) -> None:
        """Take the exact sums of passes. Those without one are left out."""
        for pass_id in pass_ids:
            self._read.pop(pass_id, None)
            self._decided.add(pass_id)
        last = self.found[-1].value if self.found else UNREAD
        for pass_id, value in sums.items():
            if 0 < value <= last:
                insort(self._exact, (value, pass_id))

    def next_step(self, count: int) -> Read | Decide | None:
        """Return what must be read so that `found` has `count` passes. None if it has, or if there are no more."""
        wanted = count - len(self.found)
        if wanted <= 0:
            return None
        # No pass that was not read has a greater sum.
        unread = functools.reduce(add, self._bounds, ZERO)
        least = self._exact[-wanted][0] if len(self._exact) >= wanted else None
        is_enough = unread <= (ZERO if least is None else least)
        # Exact sums show how far the lists must be read, but they cost more than values.
        if not is_enough and self._taken < wanted * min(VALUES_PER_SUM, len(self._bounds)):
            return self._read_highest()
        number = wanted - len(self._exact) if least is None else wanted if is_enough else wanted // 4
        if undecided := self._undecided(ZERO if least is None else least, max(number, MIN_DECIDED_AT_ONCE)):
            self._taken = 0
            return Decide(undecided)
        if not is_enough:
            return self._read_highest()
        greatest = self._exact[-wanted:]
        self.found += [TopPass(pass_id, value) for value, pass_id in reversed(greatest)]
        del self._exact[-wanted:]
        return None

    def _read_highest(self) -> Read:
        return Read(self._bounds.index(max(self._bounds)))

    def _undecided(self, above: Decimal, number: int) -> tuple[str, ...]:
        """Return the `number` undecided passes whose sums may be greatest, as far as these may be greater than `above`."""
        found: list[tuple[Decimal, str]] = []
        while self._possible and len(found) < number:
            negative, pass_id = heapq.heappop(self._possible)
            if pass_id not in self._read:
                continue
            # What is possible only becomes less: a value that is read is at most the bound before it.
            if (possible := self._greatest_possible(pass_id)) < -negative:
                heapq.heappush(self._possible, (-possible, pass_id))
                continue
            found.append((negative, pass_id))
            if possible <= above:
                break
        for each in found:
            heapq.heappush(self._possible, each)
        return tuple(pass_id for negative, pass_id in found if -negative > above)

    def _greatest_possible(self, pass_id: str) -> Decimal:
        total, lists = self._read[pass_id]
        for number, bound in enumerate(self._bounds):
            if not lists >> number & 1:
                total = add(total, bound)
        return total
