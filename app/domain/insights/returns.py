"""Return rate: how many customers come again within some days, and how many days lie between.

An active day is a local day on which the customer acted. So two purchases on one day are one active day.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain, pairwise
from zoneinfo import ZoneInfo

from app.domain.errors import Code, InvalidInput
from app.domain.values.decimals import average
from app.domain.values.zones import days_of

from .medians import median
from .moments import Moment

WITHIN_DAYS = (7, 30, 60, 90)
"""Days that an answer has if the question names none."""
MAX_WITHIN_DAYS = 3_660
MAX_WITHIN = 10
"""Numbers of days that one question names."""


@dataclass(frozen=True, slots=True)
class Returned:
    """Customers who came again within some days.

    `customers` are those whose days are over, and `returned` are those of them who came again. `rate` is their share,
    rounded half-even to 6 places; None without customers.
    """

    days: int
    customers: int
    returned: int
    rate: Decimal | None


@dataclass(frozen=True, slots=True)
class ReturnRate:
    """Answer about returning customers. `distribution` has the days from one active day to the next, and how often."""

    customers: int
    returned: tuple[Returned, ...]
    median_days: Decimal | None
    distribution: tuple[tuple[int, int], ...]


def parse_within_days(raw: Sequence[int] | None, *path: str) -> tuple[int, ...]:
    """Return the different numbers of days, ascending; WITHIN_DAYS for None. Raises InvalidInput."""
    if raw is None:
        return WITHIN_DAYS
    if not 1 <= len(raw) <= MAX_WITHIN:
        raise InvalidInput(Code.TOO_MANY, f"Give 1 to {MAX_WITHIN} numbers of days.", *path)
    for index, days in enumerate(raw):
        check_within_days(days, *path, str(index))
    return tuple(sorted(set(raw)))


def check_within_days(days: int, *path: str) -> None:
    """Raise InvalidInput for a number of days outside 1 to 3,660."""
    if not 1 <= days <= MAX_WITHIN_DAYS:
        raise InvalidInput(Code.OUT_OF_RANGE, f"Give 1 to {MAX_WITHIN_DAYS:,} days.", *path)


class ActiveDays:
    """Active days of customers in a time zone. Those in [from_ms, to_ms) are in the period.

    Give it the moments up to `max(within_days)` days after the period, so that late returns are found.
    """

    def __init__(self, types: Collection[str], zone: ZoneInfo, *, from_ms: int, to_ms: int) -> None:
        self._types, self._days, self._from_ms, self._to_ms = types, days_of(zone), from_ms, to_ms
        self._inside: dict[str, set[int]] = {}
        self._later: dict[str, set[int]] = {}

    def add(self, moments: Iterable[Moment]) -> None:
        """Add moments, in any order."""
        for moment in moments:
            if moment.at_ms >= self._from_ms and moment.is_activity(self._types):
                days = self._inside if moment.at_ms < self._to_ms else self._later
                days.setdefault(moment.pass_id, set()).add(self._days.day_of(moment.at_ms).toordinal())

    def answer(self, within_days: Sequence[int], now_ms: int) -> ReturnRate:
        """Return the answer at an instant."""
        gaps: Counter[int] = Counter()
        first_gaps: list[tuple[int, int | None]] = []
        for pass_id, days in self._inside.items():
            ordered = sorted(days)
            gaps.update(later - earlier for earlier, later in pairwise(ordered))
            following = chain(ordered[1:], self._later.get(pass_id, ()))
            again = min((day for day in following if day > ordered[0]), default=None)
            first_gaps.append((ordered[0], None if again is None else again - ordered[0]))
        today = self._days.day_of(now_ms).toordinal()
        return ReturnRate(
            customers=len(first_gaps),
            returned=tuple(_count_returned(first_gaps, days, today) for days in within_days),
            median_days=median(list(gaps.elements())),
            distribution=tuple(sorted(gaps.items())),
        )


def _count_returned(first_gaps: Iterable[tuple[int, int | None]], within_days: int, today: int) -> Returned:
    over = [gap for first_day, gap in first_gaps if first_day + within_days < today]
    returned = sum(gap is not None and gap <= within_days for gap in over)
    rate = average(Decimal(returned), len(over)) if over else None
    return Returned(within_days, len(over), returned, rate=rate)
