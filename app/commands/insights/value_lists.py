"""Lists of passes by their values in sealed months or years, read in ranges from the greatest value on."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from app.domain.rollups.covers import Cover
from app.domain.rollups.periods import month_of, months_of, year_of
from app.domain.values.decimals import ROUNDED, ZERO
from app.store.workspace.pass_periods import PassPeriodReads, RankedPass

FIRST_LOW = Decimal(10_000_000)
"""Value at which the first range of values begins if this process has answered no such question before."""
RANGE_RATIO = Decimal("0.6")
LEAST_VALUE = Decimal("0.000001")
"""The least value above 0: amounts and points have at most six places."""

MAX_DOUBTFUL_PASSES = 500
"""Passes with a value below 0 in a month of a year up to which the list of the year serves for its other months."""
ListedPeriods = Sequence[tuple[int, ...]]
"""The months and years of each list that an order reads."""


async def choose_periods(
    store: PassPeriodReads, measure: str, cover: Cover, now: datetime
) -> tuple[ListedPeriods, set[str]]:
    """Return the lists for an order of passes by the sums of the months of a cover, and doubtful passes.

    The sum of a pass that is not doubtful is at most the sum of its values in the lists. This also holds for passes that
    are sealed anew after the call, until a day later: their former values stay so long. Raises Unavailable; safe to repeat.
    """
    usual = [(period,) for period in cover.periods]
    if not cover.months:
        return usual, set()
    year = year_of(cover.months[-1])
    used = cover.used_of(year)
    later = [month for month in months_of(year) if month > used[-1]]
    ended = [month for month in later if month < month_of(now)]
    # The list of a year serves for its first months if those after them have little: none of them has ended.
    if used[0] != months_of(year)[0] or len(used) == 1 or not later or ended:
        return usual, set()
    if (coming := [month for month in later if month > month_of(now)]) and await store.has_contents(
        measure, coming[0], coming[-1]
    ):
        return usual, set()
    doubtful = set[str]()
    if later[0] == month_of(now):
        doubtful = await store.below_zero(measure, later[0], MAX_DOUBTFUL_PASSES + 1)
    if len(doubtful) > MAX_DOUBTFUL_PASSES:
        return usual, set()
    return [*(each for each in usual if each[0] not in used), (year,)], doubtful


@dataclass(slots=True)
class _Period:
    """How far the values of one period were read: the last one, and whether the range that is read now has more."""

    number: int
    last: RankedPass | None = None
    has_more: bool = True


class ValueList:
    """Passes by their values in some months or years, greatest first. Of several periods, each value is in the list.

    The values are read in ranges, because the embedded servers read all documents of a range, whatever the limit is. The
    first range begins at the value `low`, at which the last question for the periods has ended in this process.
    """

    def __init__(self, store: PassPeriodReads, measure: str, *, periods: Sequence[int], low: Decimal) -> None:
        self.periods, self.read = tuple(periods), 0
        self._store, self._measure = store, measure
        self._parts = [_Period(number) for number in periods]
        self._low, self._empty_ranges = max(low, LEAST_VALUE), 0
        # What was read and may lie below a value that was not read yet, greatest first.
        self._held: list[tuple[Decimal, str, int]] = []
        self._last_value: Decimal | None = None

    @property
    def is_over(self) -> bool:
        """Whether all values above 0 were read."""
        return self._low == LEAST_VALUE and not any(part.has_more for part in self._parts)

    @property
    def bound(self) -> Decimal:
        """The greatest value that a pass may have that `take` has not returned yet; 0 if it has returned all."""
        if self.is_over:
            return ZERO
        return max(part.last.value if part.has_more and part.last else self._low for part in self._parts)

    @property
    def last_value(self) -> Decimal | None:
        """The least value that was returned; None without any."""
        return self._last_value

    async def read_on(self, limit: int) -> None:
        """Read the next values, if any are left: at most `limit` of each period."""
        is_found = False
        while not is_found and not self.is_over:
            if not any(part.has_more for part in self._parts):
                lower = ROUNDED.quantize(ROUNDED.multiply(self._low, self._next_ratio()), LEAST_VALUE)
                self._low = max(LEAST_VALUE, lower)
                for part in self._parts:
                    part.has_more = True
            is_found = sum(await asyncio.gather(*(self._read_part(part, limit) for part in self._parts))) > 0
            self._empty_ranges = 0 if is_found else self._empty_ranges + 1

    async def _read_part(self, part: _Period, limit: int) -> int:
        if not part.has_more:
            return 0
        found, part.has_more = await self._store.ranked(self._measure, part.number, part.last, limit, low=self._low)
        for each in found:
            heapq.heappush(self._held, (-each.value, each.pass_id, each.token))
        self.read += len(found)
        part.last = found[-1] if found else part.last
        return len(found)

    def _next_ratio(self) -> Decimal:
        """Return how much lower the next range begins. Below the last value, ranges without any grow."""
        is_first = all(part.last is None for part in self._parts)
        return RANGE_RATIO if is_first else RANGE_RATIO ** (1 + self._empty_ranges)

    def take(self) -> list[RankedPass]:
        """Return the values down to the bound that were not returned before, greatest first."""
        taken, bound = list[RankedPass](), self.bound
        while self._held and -self._held[0][0] >= bound:
            negative, pass_id, token = heapq.heappop(self._held)
            taken.append(RankedPass(pass_id, -negative, token))
        if taken:
            self._last_value = taken[-1].value
        return taken
