"""Criteria on the instants and dates of a pass, whose results change by time alone: relative instants and anniversaries."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Self

from app.domain.errors import Code, InvalidInput, Refused
from app.domain.state.calendars import Calendar
from app.domain.values.conditions import MEANING, RELATIVE, Operator, check_steps
from app.domain.values.instants import DAY_MS, LATEST, parse_instant, to_ms
from app.domain.values.paths import Steps, split_path
from app.domain.values.periods import PeriodUnit
from app.domain.values.text import parse_text

MAX_RELATIVE_DAYS = 36_600
"""Days between now and the instant that a relative criterion compares with."""
MAX_NTH = 1_200
MAX_DAYS_OF_YEARLY = 300
MAX_DAYS_OF_MONTHLY = 27
"""Days that an anniversary lasts. It ends before the next one begins."""
MAX_MOMENTS = 10
"""Values of a field that an anniversary or a relative instant looks at: the first ones of a list."""
LONGEST: Mapping[PeriodUnit, int] = {PeriodUnit.YEAR: MAX_DAYS_OF_YEARLY, PeriodUnit.MONTH: MAX_DAYS_OF_MONTHLY}
_INSTANTS = ("createdAt", "installedAt", "updatedAt")
_YEARLESS = re.compile(r"--(\d\d)-(\d\d)", re.ASCII)
_LEAP_YEAR = 2000


@dataclass(frozen=True)
class MomentCriterion:
    """Criterion on the instants or dates that a field of the pass holds. It holds if it holds for one of the first 10.

    `calendar` is None until the definition is in force. A text that is a date is the midnight at which it begins.
    """

    field: str
    calendar: Calendar | None = None
    meaning: int = MEANING

    @property
    def root(self) -> str:
        """The part of the profile that the field lies in; empty for an instant of every pass."""
        return "" if self.field in _INSTANTS else self.field.partition(".")[0]

    @cached_property
    def steps(self) -> Steps:
        """The path of the value below `root`; empty for an instant of every pass."""
        return split_path(self.field.partition(".")[2]) if self.root else ()

    @property
    def local(self) -> Calendar:
        """The calendar of a criterion in force."""
        assert self.calendar is not None, "the criterion is not in force, so it has no time zone"
        return self.calendar

    def bound_to(self, calendar: Calendar) -> Self:
        """Return the criterion with the calendar. The start of weeks changes nothing."""
        return replace(self, calendar=replace(calendar, week_start=0))

    def holds(self, values: Sequence[object], at_ms: int) -> bool:
        """Return whether the criterion holds for one of the values of the field at an instant."""
        return any(start <= at_ms < end for value in values[:MAX_MOMENTS] for start, end in self.spans(value, at_ms))

    def next_change_ms(self, values: Sequence[object], at_ms: int) -> int | None:
        """Return the next instant after `at_ms` at which time alone may change the result; None for never."""
        edges = (edge for value in values[:MAX_MOMENTS] for span in self.spans(value, at_ms) for edge in span)
        return min((edge for edge in edges if at_ms < edge < _NEVER_MS), default=None)

    @property
    @abstractmethod
    def depends_on_zone(self) -> bool:
        """Whether local time decides."""

    @abstractmethod
    def spans(self, value: object, at_ms: int) -> Iterator[tuple[int, int]]:
        """Yield the spans of time, as first instant and first instant after it, in which the criterion holds for a value.

        The span that contains `at_ms` is among them, and the next one after it.
        """

    @abstractmethod
    def to_dict(self) -> dict[str, object]:
        """Return the criterion as the store and the API write it."""


_NEVER_MS = to_ms(LATEST) + 2 * MAX_RELATIVE_DAYS * DAY_MS
"""Later than every edge of a span."""


@dataclass(frozen=True)
class RelativeCriterion(MomentCriterion):
    """Comparison of an instant with the one that lies `days` of 24 hours before now, or after now if they are negative.

    WITHIN_LAST holds for instants after that one up to now, AFTER for all after that one, and BEFORE for the others.
    """

    operator: Operator = Operator.WITHIN_LAST
    days: int = 1

    @property
    def depends_on_zone(self) -> bool:
        """Whether local time decides: for fields, because they may hold dates."""
        return bool(self.root)

    def spans(self, value: object, at_ms: int) -> Iterator[tuple[int, int]]:
        """Yield the span of a value."""
        moment_ms = _instant_of(value, self.calendar)
        if moment_ms is None:
            return
        edge_ms = moment_ms + self.days * DAY_MS
        match self.operator:
            case Operator.WITHIN_LAST:
                yield moment_ms, edge_ms
            case Operator.AFTER:
                yield -_NEVER_MS, edge_ms
            case _:
                yield edge_ms, _NEVER_MS

    def to_dict(self) -> dict[str, object]:
        """Return the criterion as the store and the API write it."""
        return {"pass": {"field": self.field, "operator": self.operator.value, "value": self.asked}}

    @property
    def asked(self) -> dict[str, object]:
        """What the instant is compared with."""
        return {"days": self.days}

    def window_at(self, at_ms: int) -> tuple[int | None, int | None]:
        """Return the first and the last instant for which the criterion holds at `at_ms`; None is no bound."""
        edge_ms = at_ms - self.days * DAY_MS
        match self.operator:
            case Operator.WITHIN_LAST:
                return edge_ms + 1, at_ms
            case Operator.AFTER:
                return edge_ms + 1, None
        return None, edge_ms


@dataclass(frozen=True)
class AnniversaryCriterion(MomentCriterion):
    """Yearly or monthly anniversary of a local date, for `for_days` local days. `nth` is None for every one.

    The day itself is none. 29 February is 28 February in other years, and the 31st the last day of shorter months.
    """

    unit: PeriodUnit = PeriodUnit.YEAR
    nth: int | None = None
    for_days: int = 1

    @property
    def depends_on_zone(self) -> bool:
        """Whether local time decides: always."""
        return True

    def spans(self, value: object, at_ms: int) -> Iterator[tuple[int, int]]:
        """Yield the spans of the anniversaries around an instant."""
        origin = _date_of(value, self.local)
        if origin is None:
            return
        day, has_year = origin
        today = self.local.day_at(at_ms)
        months = 12 if self.unit is PeriodUnit.YEAR else 1
        passed = (_month_number(today) - _month_number(day)) // months
        if self.nth is not None:
            numbers = [self.nth] if has_year else []
        else:
            first = passed - 1 if not has_year else max(1, passed - 1)
            numbers = list(range(first, first + 4))
        for number in numbers:
            if (start := _add_months(day, number * months)) is not None:
                end = start + timedelta(days=self.for_days)
                yield self.local.start_ms(start), self.local.start_ms(end)

    def to_dict(self) -> dict[str, object]:
        """Return the criterion as the store and the API write it."""
        return {"pass": {"anniversary": {"field": self.field, **self.asked}}}

    @property
    def asked(self) -> dict[str, object]:
        """What anniversary the criterion asks for."""
        return {"unit": self.unit.value, "nth": self.nth, "forDays": self.for_days}


def parse_moment(
    body: Mapping[str, object], path: tuple[str, ...], *, stored_meaning: int | None
) -> RelativeCriterion | AnniversaryCriterion | None:
    """Return the criterion of an anniversary or of a relative instant; None for another pass criterion.

    Raises InvalidInput.
    """
    meaning = stored_meaning or MEANING
    if body.get("anniversary") is not None:
        anniversary = _parse_anniversary(body["anniversary"], (*path, "anniversary"), meaning)
        # The API returns the field of an anniversary beside it, too.
        if body.get("value") is not None or body.get("field") not in (None, anniversary.field):
            message = "An anniversary is compared with nothing. Leave field, operator and value out."
            raise InvalidInput(Code.INVALID, message, *path, "anniversary")
        return anniversary
    if body.get("field") is None:
        raise InvalidInput(Code.REQUIRED, "Give the field to compare, or an anniversary.", *path, "field")
    if body.get("operator") not in RELATIVE:
        return None
    operator = Operator(str(body["operator"]))
    name = _parse_field(body.get("field"), (*_INSTANTS, "fields.<name>", "metadata.<path>"), *path, "field")
    raw = body.get("value")
    if not isinstance(raw, Mapping) or raw.keys() != {"days"}:
        raise InvalidInput(Code.INVALID, f"{operator} compares with {{days: N}}, days of 24 hours.", *path, "value")
    lowest = 1 if operator is Operator.WITHIN_LAST else -MAX_RELATIVE_DAYS
    days = _parse_number(raw["days"], lowest, MAX_RELATIVE_DAYS, *path, "value", "days")
    return RelativeCriterion(name, None, meaning, operator=operator, days=days)


def _parse_anniversary(raw: object, path: tuple[str, ...], meaning: int) -> AnniversaryCriterion:
    if not isinstance(raw, Mapping):
        raise InvalidInput(Code.INVALID, "Give an object with field and unit.", *path)
    name = _parse_field(raw.get("field"), ("createdAt", "installedAt", "fields.<name>"), *path, "field")
    if raw.get("unit") not in LONGEST:
        raise InvalidInput(Code.UNKNOWN, f"Give one of {', '.join(LONGEST)}.", *path, "unit")
    unit = PeriodUnit(str(raw["unit"]))
    nth = None if raw.get("nth") is None else _parse_number(raw["nth"], 1, MAX_NTH, *path, "nth")
    for_days = 1 if raw.get("forDays") is None else raw["forDays"]
    for_days = _parse_number(for_days, 1, LONGEST[unit], *path, "forDays")
    return AnniversaryCriterion(name, None, meaning, unit=unit, nth=nth, for_days=for_days)


def _parse_field(raw: object, accepted: tuple[str, ...], *path: str) -> str:
    name = parse_text(raw, *path, max_length=200)
    root, _, rest = name.partition(".")
    roots = {each.partition(".")[0] for each in accepted if "." in each}
    if name not in accepted and not (root in roots and rest):
        raise InvalidInput(Code.UNKNOWN, f"Give one of {', '.join(accepted)}.", *path)
    if rest:
        check_steps(split_path(rest), *path)
    return name


def _parse_number(raw: object, lowest: int, highest: int, *path: str) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int) or not lowest <= raw <= highest:
        raise InvalidInput(Code.OUT_OF_RANGE, f"Give a whole number from {lowest:,} to {highest:,}.", *path)
    return raw


def _instant_of(value: object, calendar: Calendar | None) -> int | None:
    """Return the instant of a value; None if it is none. A date is the midnight at which it begins."""
    if isinstance(value, datetime):
        return to_ms(value)
    found = _read_text(value) if isinstance(value, str) else None
    if isinstance(found, date):
        assert calendar is not None, "the criterion is not in force, so it has no time zone"
        return calendar.start_ms(found)
    return found if isinstance(found, int) else None


def _date_of(value: object, calendar: Calendar) -> tuple[date, bool] | None:
    """Return the local date of a value, and whether it has a year; None if the value is no date."""
    if isinstance(value, datetime):
        return calendar.day_at(to_ms(value)), True
    found = _read_text(value) if isinstance(value, str) else None
    if isinstance(found, int):
        return calendar.day_at(found), True
    return (found, True) if isinstance(found, date) else found


@lru_cache(maxsize=10_000)
def _read_text(text: str) -> int | date | tuple[date, bool] | None:
    """Return what a text says: an instant in ms, a date, or a date of any year with False; None for another text."""
    if (match := _YEARLESS.fullmatch(text)) is not None:
        try:
            return date(_LEAP_YEAR, int(match[1]), int(match[2])), False
        except ValueError:
            return None
    try:
        if len(text) == 10:
            found = date.fromisoformat(text)
            return found if text[4:8:3] == "--" and 1900 <= found.year < LATEST.year else None
        return to_ms(parse_instant(text))
    except (ValueError, Refused):
        return None


def _month_number(day: date) -> int:
    return day.year * 12 + day.month - 1


def _add_months(day: date, count: int) -> date | None:
    """Return the date so many months later, on the last day of a shorter month; None after the year 2199."""
    year, month = divmod(_month_number(day) + count, 12)
    if year >= LATEST.year:
        return None
    after = date(year + (month == 11), (month + 1) % 12 + 1, 1)
    last = (after - timedelta(days=1)).day
    return date(year, month + 1, min(day.day, last))
