"""Local periods that measures keep: one value for each calendar period, or one bit for each unit of a streak.

A period is named by its first day, as the number of `date.toordinal`. So a day that a zone skipped has a name of its own,
although no instant lies in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import NamedTuple

from app.domain.values.periods import PeriodUnit, add_periods, period_days
from app.domain.values.zones import Days, days_of, stored_zone

from .distinct import ValueSet, unite_values
from .numbers import Weight

MIN_OFFSET = -12
"""The earliest period that a calendar window covers: 12 periods before the present one."""
MAX_STREAK = 60
"""Units in a row that a criterion asks for."""
_KEPT_UNITS = MAX_STREAK + 2
"""Units of a streak that a pass keeps. They fit into a signed integer of 64 bits."""
_KEPT_BITS = (1 << _KEPT_UNITS) - 1


class Period(NamedTuple):
    """Calendar period: its first day, its first instant, and the first instant after it."""

    first: int
    start_ms: int
    end_ms: int


@dataclass(frozen=True)
class Calendar:
    """Local time of criteria: an IANA zone, and the weekday on which weeks begin, from 0 (Monday) to 6 (Sunday).

    `tzdata` is the version of the time zone data. Measures by another version are other measures.
    """

    zone: str
    week_start: int = 0
    tzdata: str = ""

    @cached_property
    def _days(self) -> Days:
        return days_of(stored_zone(self.zone))

    @cached_property
    def _latest(self) -> dict[PeriodUnit, Period]:
        return {}

    def day_at(self, at_ms: int) -> date:
        """Return the local day that contains an instant."""
        return self._days.day_of(at_ms)

    def start_ms(self, day: date) -> int:
        """Return the first instant of a local day."""
        return self._days.start_ms(day)

    def period_at(self, unit: PeriodUnit, at_ms: int) -> Period:
        """Return the period that contains an instant."""
        # Events and evaluations ask for the same period many times in a row.
        found = self._latest.get(unit)
        if found is None or not found.start_ms <= at_ms < found.end_ms:
            first, after = period_days(self._days.day_of(at_ms), unit, self.week_start)
            found = Period(first.toordinal(), self._days.start_ms(first), self._days.start_ms(after))
            self._latest[unit] = found
        return found

    def period_of(self, unit: PeriodUnit, first: int) -> Period:
        """Return the period that begins on a day."""
        day = date.fromordinal(first)
        return Period(first, self._days.start_ms(day), self._days.start_ms(add_periods(day, unit, 1)))


@dataclass(frozen=True)
class LocalPeriods:
    """Periods of local time that a criterion looks at.

    - Without `at_least`: the calendar window that lies `offset` periods from the present one, 0 to -12.
    - With `at_least`: the streak of units in a row with an event that ends with the present unit or the one before it.

    `calendar` is None until the definition that the criterion belongs to is in force: it says which zone applies.
    """

    unit: PeriodUnit
    offset: int = 0
    at_least: int | None = None
    calendar: Calendar | None = None

    @property
    def local(self) -> Calendar:
        """The calendar of a criterion in force."""
        assert self.calendar is not None, "the criterion is not in force, so it has no time zone"
        return self.calendar

    def bound_to(self, calendar: Calendar) -> LocalPeriods:
        """Return the periods of a calendar. The start of weeks makes no other measure of days and months."""
        week_start = calendar.week_start if self.unit is PeriodUnit.WEEK else 0
        return replace(self, calendar=replace(calendar, week_start=week_start))

    def to_dict(self) -> dict[str, object]:
        """Return the window or the streak as the store and the API write it, by the name of its kind."""
        if self.at_least is not None:
            return {"consecutive": {"unit": self.unit.value, "atLeast": self.at_least}}
        return {"calendar": {"unit": self.unit.value, "offset": self.offset}}

    def shifted(self, first: int, count: int) -> int:
        """Return the first day of the period that is `count` periods after the one that begins on a day."""
        return add_periods(date.fromordinal(first), self.unit, count).toordinal()

    def window_at(self, at_ms: int) -> Period:
        """Return the window as it is at an instant; for a streak, the units that it must cover, with the present one."""
        present = self.local.period_at(self.unit, at_ms)
        if self.at_least is not None:
            first = self.local.period_of(self.unit, self.shifted(present.first, -self.at_least))
            return Period(first.first, first.start_ms, present.end_ms)
        return self.local.period_of(self.unit, self.shifted(present.first, self.offset)) if self.offset else present


PeriodValue = Weight | ValueSet
"""What the events of one calendar period give: a count, a sum, a mean, an extreme, or the set of their values."""


@dataclass(frozen=True, slots=True)
class PeriodValues:
    """Values of calendar periods, by their first days, ascending. Periods without a value are left out."""

    firsts: tuple[int, ...]
    values: tuple[PeriodValue, ...]


@dataclass(frozen=True, slots=True)
class Streak:
    """Units with an event: the number of the latest one, and one bit for each unit, the lowest one for the latest."""

    last: int
    bits: int


PeriodState = PeriodValues | Streak


def add_to_periods(
    periods: LocalPeriods,
    state: PeriodState | None,
    at_ms: int,
    *,
    value: PeriodValue,
    join: Callable[[Weight, Weight], Weight],
    now_ms: int,
) -> PeriodState | None:
    """Return the state at `now_ms` with the value of one more event, which occurred at `at_ms`.

    The event counts in the period in which it occurred, however late it is recorded. `join` gives the value of two events
    together, except of sets of values.
    """
    first = periods.local.period_at(periods.unit, at_ms).first
    if periods.at_least is not None:
        return _add_unit(state, _unit_number(periods.unit, first))
    if first < _first_kept(periods, now_ms):
        return state
    if not isinstance(state, PeriodValues):
        return PeriodValues((first,), (value,))
    values = dict(zip(state.firsts, state.values, strict=True))
    values[first] = _join(values[first], value, join) if first in values else value
    if first < state.firsts[-1]:
        values = dict(sorted(values.items()))
    return PeriodValues(tuple(values), tuple(values.values()))


def expire_periods(periods: LocalPeriods, state: PeriodState, now_ms: int) -> PeriodState | None:
    """Return the state without the periods that no window covers any more; None if nothing is left."""
    if not isinstance(state, PeriodValues) or state.firsts[0] >= (kept := _first_kept(periods, now_ms)):
        return state
    left = [pair for pair in zip(state.firsts, state.values, strict=True) if pair[0] >= kept]
    return PeriodValues(tuple(first for first, _ in left), tuple(value for _, value in left)) if left else None


def _join(a: PeriodValue, b: PeriodValue, join: Callable[[Weight, Weight], Weight]) -> PeriodValue:
    if isinstance(a, ValueSet) or isinstance(b, ValueSet):
        assert isinstance(a, ValueSet)
        assert isinstance(b, ValueSet)
        return unite_values(a, b)
    return join(a, b)


def value_of_periods(periods: LocalPeriods, state: PeriodState, now_ms: int) -> Weight | None:
    """Return the value of the window at an instant, or the length of the streak, which is counted to 62 units.

    It is None if the window has no value.
    """
    present = periods.local.period_at(periods.unit, now_ms).first
    if isinstance(state, Streak):
        return _length(state, _unit_number(periods.unit, present))
    return _value(state, periods.shifted(present, periods.offset) if periods.offset else present)


def later_values(periods: LocalPeriods, state: PeriodState, now_ms: int) -> Iterator[tuple[int, Weight | None]]:
    """Yield the instants after `now_ms` at which time alone changes the value, and the value from each of them on.

    The values are those of `value_of_periods`.
    """
    present = periods.local.period_at(periods.unit, now_ms)
    if isinstance(state, Streak):
        number = _unit_number(periods.unit, present.first)
        if _length(state, number):
            # It ends with the unit after the one of its latest event.
            ended = periods.shifted(present.first, state.last + 2 - number)
            yield periods.local.period_of(periods.unit, ended).start_ms, 0
        return
    start_ms = present.end_ms
    for count in range(1, 2 - periods.offset):
        value = _value(state, periods.shifted(present.first, periods.offset + count))
        first = periods.shifted(present.first, count)
        yield (start_ms if count == 1 else periods.local.period_of(periods.unit, first).start_ms), value


def _first_kept(periods: LocalPeriods, now_ms: int) -> int:
    present = periods.local.period_at(periods.unit, now_ms).first
    return periods.shifted(present, periods.offset) if periods.offset else present


def _value(state: PeriodValues, first: int) -> Weight | None:
    if first not in state.firsts:
        return None
    found = state.values[state.firsts.index(first)]
    return found.value if isinstance(found, ValueSet) else found


def _unit_number(unit: PeriodUnit, first: int) -> int:
    """Return the number of a unit: those of two units in a row differ by 1."""
    if unit is PeriodUnit.MONTH:
        day = date.fromordinal(first)
        return day.year * 12 + day.month
    return first // 7 if unit is PeriodUnit.WEEK else first


def _add_unit(state: PeriodState | None, number: int) -> Streak:
    if not isinstance(state, Streak):
        return Streak(number, 1)
    if number > state.last:
        later = number - state.last
        bits = state.bits << later & _KEPT_BITS if later < _KEPT_UNITS else 0
        return Streak(number, bits | 1)
    earlier = state.last - number
    return Streak(state.last, state.bits | 1 << earlier) if earlier < _KEPT_UNITS else state


def _length(state: Streak, present: int) -> int:
    """Return the units in a row that end with the present one, or with the one before it."""
    bits = state.bits
    if present > state.last + 1:
        return 0
    if present == state.last + 1:
        bits <<= 1
    else:
        bits >>= state.last - present
    if not bits & 1:
        bits >>= 1
    return (~bits & (bits + 1)).bit_length() - 1
