"""Criteria that depend on local time: their parser, and the calendar that they get when they come into force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from app.domain.errors import Code, InvalidInput
from app.domain.state.calendars import MAX_STREAK, MIN_OFFSET, Calendar, LocalPeriods
from app.domain.values.periods import PeriodUnit

from .criteria import DAYS, All, AnyOf, Criteria, EventCriterion, Not, iter_leaves
from .moments import AnniversaryCriterion, MomentCriterion, RelativeCriterion

STREAK_UNITS = (PeriodUnit.DAY, PeriodUnit.WEEK, PeriodUnit.MONTH)
_FIELDS_OF_WINDOWS = ("within", "between", "calendar")


def parse_periods(body: Mapping[str, object], path: tuple[str, ...]) -> LocalPeriods | None:
    """Return the calendar window or the streak of an event criterion; None if it has neither. Raises InvalidInput."""
    if body.get("consecutive") is not None:
        return _parse_streak(body, path)
    raw = body.get("calendar")
    if raw is None:
        return None
    if not isinstance(raw, Mapping):
        raise InvalidInput(Code.INVALID, "Give an object with unit and offset.", *path, "calendar")
    if body.get("metric", "COUNT") in DAYS:
        message = (
            f"{body['metric']} takes no calendar window; leave it out, or count the events of the window with COUNT."
        )
        raise InvalidInput(Code.UNSUPPORTED, message, *path, "calendar")
    if body.get("within") is not None or body.get("between") is not None:
        raise InvalidInput(Code.INVALID, "Give one of within, between and calendar.", *path, "calendar")
    unit = _parse_unit(raw.get("unit"), tuple(PeriodUnit), *path, "calendar", "unit")
    offset = 0 if raw.get("offset") is None else raw["offset"]
    if isinstance(offset, bool) or not isinstance(offset, int) or not MIN_OFFSET <= offset <= 0:
        message = f"Give a whole number from {MIN_OFFSET} to 0: 0 is the present period, -1 the one before it."
        raise InvalidInput(Code.OUT_OF_RANGE, message, *path, "calendar", "offset")
    return LocalPeriods(unit, offset)


def _parse_streak(body: Mapping[str, object], path: tuple[str, ...]) -> LocalPeriods:
    raw = body["consecutive"]
    if not isinstance(raw, Mapping):
        raise InvalidInput(Code.INVALID, "Give an object with unit and atLeast.", *path, "consecutive")
    unit = _parse_unit(raw.get("unit"), STREAK_UNITS, *path, "consecutive", "unit")
    count = raw.get("atLeast")
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_STREAK:
        message = f"Give a whole number of units from 1 to {MAX_STREAK}."
        raise InvalidInput(Code.OUT_OF_RANGE, message, *path, "consecutive", "atLeast")
    for name in _FIELDS_OF_WINDOWS:
        if body.get(name) is not None:
            message = f"A streak takes no other window; leave {name} out."
            raise InvalidInput(Code.INVALID, message, *path, name)
    if body.get("metric", "COUNT") != "COUNT" or body.get("operator", "GTE") != "GTE":
        message = "A streak has one event or more in each unit. Leave metric and operator out."
        raise InvalidInput(Code.INVALID, message, *path, "consecutive")
    # The API asked for a number with each criterion before there were streaks, so clients may send 1.
    if body.get("value") not in (None, 1, "1", count, str(count)):
        message = (
            "A streak has one event or more in each unit. Leave value out, and give the number of units in atLeast."
        )
        raise InvalidInput(Code.INVALID, message, *path, "value")
    return LocalPeriods(unit, at_least=count)


def _parse_unit(raw: object, units: tuple[PeriodUnit, ...], *path: str) -> PeriodUnit:
    if raw not in units:
        raise InvalidInput(Code.UNKNOWN, f"Give one of {', '.join(units)}.", *path)
    return PeriodUnit(str(raw))


def depends_on_zone(criteria: Criteria) -> bool:
    """Return whether a part of the criteria depends on local time."""
    return any(
        leaf.periods is not None if isinstance(leaf, EventCriterion) else leaf.depends_on_zone
        for leaf in iter_leaves(criteria)
        if isinstance(leaf, EventCriterion | MomentCriterion)
    )


def bind(criteria: Criteria, calendar: Calendar) -> Criteria:
    """Return criteria whose parts that depend on local time have the calendar. Other parts stay the same objects."""
    if not depends_on_zone(criteria):
        return criteria
    match criteria:
        case All(children):
            return All(tuple(bind(child, calendar) for child in children))
        case AnyOf(children):
            return AnyOf(tuple(bind(child, calendar) for child in children))
        case Not(child):
            return Not(bind(child, calendar))
        case EventCriterion() if criteria.periods is not None:
            return replace(criteria, periods=criteria.periods.bound_to(calendar))
        case RelativeCriterion() | AnniversaryCriterion():
            return criteria.bound_to(calendar)
    return criteria
