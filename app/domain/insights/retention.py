"""Retention: customers by the period in which they first acted, and how many of them act in each later period."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from app.domain.errors import Code, InvalidInput
from app.domain.state.calendars import Calendar, Period
from app.domain.values.decimals import ZERO, add_exactly, average
from app.domain.values.periods import PeriodUnit

from .moments import Moment

MAX_PERIODS = 200
"""Periods that one answer has, so at most 20,100 numbers of customers."""


class CohortUnit(StrEnum):
    """Period by which customers form cohorts."""

    MONTH = "MONTH"
    WEEK = "WEEK"


@dataclass(frozen=True, slots=True)
class CohortPeriod:
    """Period number `n` after the first one of a cohort, which is 0.

    `active` customers of the cohort acted in it. `rate` is their share, rounded half-even to 6 places; None for an empty
    cohort. `revenue` is the spend of the whole cohort in it.
    """

    n: int
    active: int
    rate: Decimal | None
    revenue: Decimal


@dataclass(frozen=True, slots=True)
class Cohort:
    """Customers who first acted in the period that begins at `start_ms`, and their periods up to the end of the answer."""

    start_ms: int
    size: int
    periods: tuple[CohortPeriod, ...]


class Cohorts:
    """Customers by their first period, in the calendar of a zone. `week_start` is a weekday from 0 (Monday) to 6 (Sunday).

    Give it the moments of the period. `answer` leaves out the customers who acted before it.
    """

    def __init__(
        self, unit: CohortUnit, types: Collection[str], currency: str, *, zone: ZoneInfo, week_start: int
    ) -> None:
        self._unit, self._types, self._currency = PeriodUnit(unit), types, currency
        self._calendar = Calendar(zone.key, week_start)
        self._first_ms: dict[str, int] = {}
        self._active: dict[str, set[int]] = {}
        self._spend: dict[str, dict[int, Decimal]] = {}

    def add(self, moments: Iterable[Moment]) -> None:
        """Add moments, in any order."""
        for moment in moments:
            pass_id, at_ms = moment.pass_id, moment.at_ms
            first = self._calendar.period_at(self._unit, at_ms).first
            if moment.is_activity(self._types):
                self._first_ms[pass_id] = min(at_ms, self._first_ms.get(pass_id, at_ms))
                self._active.setdefault(pass_id, set()).add(first)
            if spend := moment.spend_in(self._currency):
                spent = self._spend.setdefault(pass_id, {})
                spent[first] = add_exactly(spent.get(first, ZERO), spend)

    @property
    def active(self) -> Collection[str]:
        """The passes with an activity."""
        return self._first_ms.keys()

    def answer(self, from_ms: int | None, to_ms: int, *path: str, not_new: Collection[str] = ()) -> tuple[Cohort, ...]:
        """Return the cohorts of the customers who first acted in [from_ms, to_ms), by their start.

        `not_new` are the passes that acted before `from_ms`.

        The first cohort is that of `from_ms`, or the earliest one for None. Raises InvalidInput with the code LIMIT if there
        are more than 200 periods.
        """
        start_ms = min(self._first_ms.values(), default=to_ms) if from_ms is None else from_ms
        if start_ms >= to_ms:
            return ()
        periods = self.periods(start_ms, to_ms, *path)
        numbers = {period.first: number for number, period in enumerate(periods)}
        members: list[list[str]] = [[] for _ in periods]
        for pass_id, first_ms in self._first_ms.items():
            if pass_id not in not_new:
                members[numbers[self._calendar.period_at(self._unit, first_ms).first]].append(pass_id)
        return tuple(self._cohort(periods[number:], pass_ids) for number, pass_ids in enumerate(members))

    def periods(self, start_ms: int, to_ms: int, *path: str) -> list[Period]:
        """Return the periods of [start_ms, to_ms). Raises InvalidInput with the code LIMIT for more than 200."""
        periods = [self._calendar.period_at(self._unit, start_ms)]
        while periods[-1].end_ms < to_ms:
            if len(periods) == MAX_PERIODS:
                longer = "cohorts by MONTH, or for " if self._unit is PeriodUnit.WEEK else ""
                advice = f"Ask for {longer}a later `from`."
                raise InvalidInput(Code.LIMIT, f"The time has more than {MAX_PERIODS} periods. {advice}", *path)
            periods.append(self._calendar.period_at(self._unit, periods[-1].end_ms))
        return periods

    def _cohort(self, periods: list[Period], pass_ids: list[str]) -> Cohort:
        active, revenue = dict.fromkeys((p.first for p in periods), 0), {p.first: ZERO for p in periods}
        for pass_id in pass_ids:
            for first in self._active[pass_id]:
                active[first] += 1
            for first, spend in self._spend.get(pass_id, {}).items():
                if first in revenue:
                    revenue[first] = add_exactly(revenue[first], spend)
        return Cohort(
            periods[0].start_ms,
            len(pass_ids),
            tuple(
                CohortPeriod(
                    n,
                    active[period.first],
                    average(Decimal(active[period.first]), len(pass_ids)) if pass_ids else None,
                    revenue=revenue[period.first],
                )
                for n, period in enumerate(periods)
            ),
        )
