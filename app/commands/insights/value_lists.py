"""Lists of passes by their values in sealed months or years, read in ranges from the greatest value on.

Twelve months that end now or a month ago are read from lists of sums of twelve months, in which each pass is once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from operator import attrgetter

from app.domain.insights.threshold import UNREAD
from app.domain.rollups.covers import Cover
from app.domain.rollups.periods import earlier_month, month_of, months_of, year_of
from app.domain.rollups.twelve_months import TWELVE
from app.domain.values.decimals import ROUNDED, ZERO
from app.store.workspace.pass_periods import (
    TWELVE_BEFORE,
    TWELVE_ENDING,
    TWELVE_LATER,
    PassPeriodReads,
    RankedPass,
    Ranking,
)

FIRST_LOW = Decimal(10_000_000)
"""Value at which the first range of values begins if this process has answered no such question before."""
RANGE_RATIO = Decimal("0.6")
LEAST_VALUE = Decimal("0.000001")
"""The least value above 0: amounts and points have at most six places."""
MAX_DOUBTFUL_PASSES = 500
"""Passes that are decided first, so that fewer lists serve: with a value below 0 in a month, or with later events."""
LAST_POSSIBLE_MONTH = 999_912
"""December of the last year that an instant can have."""


@dataclass(frozen=True, slots=True)
class ChosenLists:
    """Lists by which passes are ordered, and the doubtful passes.

    The sum of a pass that is not doubtful is at most the sum of its values in `periods`. Without these, it is at most the
    greatest of its values in the lists `twelve`, of contents of `last_months`. Both also hold for passes that are sealed
    anew later, until a day has passed: their former values stay so long.
    """

    periods: Sequence[int] = ()
    twelve: Sequence[Ranking] = ()
    last_months: Collection[int] = ()
    doubtful: Collection[str] = ()


async def choose_twelve_months(store: PassPeriodReads, cover: Cover, now: datetime) -> ChosenLists | None:
    """Return the lists of sums of twelve months if they serve for a cover: one that ends a month ago, now or later.

    Each pass must have such sums. Raises Unavailable; safe to repeat.
    """
    months = cover.months
    if len(months) != TWELVE or len(cover.periods) == 1 or months[-1] < earlier_month(month_of(now), 1):
        return None
    following = earlier_month(months[-1], -1)
    # A pass with events after the following month may have a greater sum in these months than the lists say.
    doubtful = await store.with_contents(following + 1, LAST_POSSIBLE_MONTH, MAX_DOUBTFUL_PASSES + 1)
    if len(doubtful) > MAX_DOUBTFUL_PASSES:
        return None
    years = sorted({year_of(month) for month in months[:-1]})
    twelve = (
        Ranking(TWELVE_ENDING, months[-1]),
        Ranking(TWELVE_BEFORE, following),
        *(Ranking(TWELVE_LATER, year) for year in years),
    )
    return ChosenLists(twelve=twelve, last_months={*months, following}, doubtful=doubtful)


async def choose_periods(store: PassPeriodReads, measure: str, cover: Cover, now: datetime) -> ChosenLists:
    """Return the lists of months and years for the months of a cover. Raises Unavailable; safe to repeat."""
    usual = cover.periods
    if not cover.months:
        return ChosenLists(usual)
    year = year_of(cover.months[-1])
    used = cover.used_of(year)
    later = [month for month in months_of(year) if month > used[-1]]
    ended = [month for month in later if month < month_of(now)]
    # The list of a year serves for its first months if those after them have little: none of them has ended.
    if used[0] != months_of(year)[0] or len(used) == 1 or not later or ended:
        return ChosenLists(usual)
    if (coming := [month for month in later if month > month_of(now)]) and await store.has_contents(
        measure, coming[0], coming[-1]
    ):
        return ChosenLists(usual)
    doubtful = set[str]()
    if later[0] == month_of(now):
        doubtful = await store.below_zero(measure, later[0], MAX_DOUBTFUL_PASSES + 1)
    if len(doubtful) > MAX_DOUBTFUL_PASSES:
        return ChosenLists(usual)
    return ChosenLists([*(each for each in usual if each not in used), year], doubtful=doubtful)


class ValueList:
    """Passes by their values in one list, greatest first.

    The values are read in ranges, because the embedded servers read all documents of a range, whatever the limit is. The
    first range begins at the value `low`, at which the last question for the list has ended in this process.
    """

    def __init__(self, store: PassPeriodReads, measure: str, *, ranking: Ranking, low: Decimal) -> None:
        self.ranking, self.read = ranking, 0
        self._store, self._measure, self._is_begun = store, measure, False
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
        if not self._is_begun:
            return UNREAD
        if self.is_over:
            return ZERO
        return self._last.value if self._has_more and self._last is not None else self._low

    @property
    def next_low(self) -> Decimal | None:
        """The value at which the next question should begin to read; None if nothing was read.

        It is the least value that was read. If there is none, it is the value down to which there is none.
        """
        return self._low if self._last is None and self._is_begun else self.last_value

    @property
    def last_value(self) -> Decimal | None:
        """The least value that was read; None without any."""
        return None if self._last is None else self._last.value

    async def read_on(self, limit: int, until: Decimal = ZERO) -> None:
        """Read the next values, if any are left that are at least `until`: at most `limit`."""
        is_found = False
        while not is_found and not self.is_over and (not self._is_begun or self.bound >= until):
            if not self._has_more:
                lower = ROUNDED.quantize(ROUNDED.multiply(self._low, self._next_ratio()), LEAST_VALUE)
                self._low, self._has_more = max(LEAST_VALUE, lower), True
            found, self._has_more = await self._store.ranked(
                self._measure, self.ranking, self._last, limit, low=self._low
            )
            self._is_begun, is_found = True, bool(found)
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


class MergedLists:
    """Several lists, read as one: the greatest value first. Contents of other months than `months` are left out."""

    def __init__(self, lists: Sequence[ValueList], months: Collection[int]) -> None:
        self._lists, self._months = lists, months
        self._waiting: list[RankedPass] = []

    @property
    def read(self) -> int:
        """The number of values that were read."""
        return sum(each.read for each in self._lists)

    @property
    def bound(self) -> Decimal:
        """The greatest value that `take` may return from now on; 0 if there is none."""
        return max(each.bound for each in self._lists)

    async def read_on(self, limit: int) -> None:
        """Read the next values of the list that may have the greatest: at most `limit`."""
        first, *others = sorted(self._lists, key=attrgetter("bound"), reverse=True)
        await first.read_on(limit, max((each.bound for each in others), default=ZERO))

    def take(self) -> list[RankedPass]:
        """Return those values that were read since the last call and that are at least as great as all others."""
        found = [each for values in self._lists for each in values.take() if each.period in self._months]
        found += self._waiting
        bound = self.bound
        self._waiting = [each for each in found if each.value < bound]
        return sorted((each for each in found if each.value >= bound), key=attrgetter("value"), reverse=True)
