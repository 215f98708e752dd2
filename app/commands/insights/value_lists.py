"""Lists of passes by their values in sealed months or years, read in ranges from the greatest value on."""

from __future__ import annotations

from collections.abc import Sequence
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


async def choose_periods(
    store: PassPeriodReads, measure: str, cover: Cover, now: datetime
) -> tuple[Sequence[int], set[str]]:
    """Return the months and years whose lists order passes by the sums of the months of a cover, and doubtful passes.

    The sum of a pass that is not doubtful is at most the sum of its values in the lists. This also holds for passes that
    are sealed anew after the call, until a day later: their former values stay so long. Raises Unavailable; safe to repeat.
    """
    usual = cover.periods
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
    return [*(each for each in usual if each not in used), year], doubtful


class ValueList:
    """Passes by their values in one month or year, greatest first.

    The values are read in ranges, because the embedded servers read all documents of a range, whatever the limit is. The
    first range begins at the value `low`, at which the last question for the period has ended in this process.
    """

    def __init__(self, store: PassPeriodReads, measure: str, *, period: int, low: Decimal) -> None:
        self.period, self.read = period, 0
        self._store, self._measure = store, measure
        self._fresh: list[RankedPass] = []
        self._last: RankedPass | None = None
        self._low, self._has_more, self._empty_ranges = max(low, LEAST_VALUE), True, 0

    @property
    def is_over(self) -> bool:
        """Whether all values above 0 were read."""
        return not self._has_more and self._low == LEAST_VALUE

    @property
    def bound(self) -> Decimal:
        """The greatest value that a pass may have that was not read yet; 0 if all were read."""
        if self.is_over:
            return ZERO
        return self._last.value if self._has_more and self._last is not None else self._low

    @property
    def last_value(self) -> Decimal | None:
        """The least value that was read; None without any."""
        return None if self._last is None else self._last.value

    async def read_on(self, limit: int) -> None:
        """Read the next values, if any are left: at most `limit`."""
        is_found = False
        while not is_found and not self.is_over:
            if not self._has_more:
                lower = ROUNDED.quantize(ROUNDED.multiply(self._low, self._next_ratio()), LEAST_VALUE)
                self._low, self._has_more = max(LEAST_VALUE, lower), True
            found, self._has_more = await self._store.ranked(
                self._measure, self.period, self._last, limit, low=self._low
            )
            is_found = bool(found)
            self._empty_ranges = 0 if found else self._empty_ranges + 1
            self.read += len(found)
            self._fresh += found
            self._last = found[-1] if found else self._last

    def _next_ratio(self) -> Decimal:
        """Return how much lower the next range begins. Below the last value, ranges without any grow."""
        return RANGE_RATIO if self._last is None else RANGE_RATIO ** (1 + self._empty_ranges)

    def take(self) -> list[RankedPass]:
        """Return the values that were read since the last call."""
        taken, self._fresh = self._fresh, []
        return taken
