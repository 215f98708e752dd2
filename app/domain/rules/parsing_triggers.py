"""Parsers of a rule's trigger, and of when and how often it fires."""

from __future__ import annotations

import re
from collections.abc import Mapping

from app.domain.errors import Code, InvalidInput, refuse_if
from app.domain.events.events import Category
from app.domain.events.type_names import parse_type
from app.domain.segments.lists import parse_category_name, parse_list, parse_names
from app.domain.segments.segments import parse_key
from app.domain.state.firings import MAX_INSTANTS
from app.domain.values.currencies import parse_currency
from app.domain.values.periods import PeriodUnit
from app.domain.values.text import parse_text
from app.domain.values.windows import parse_within

from .reading import Problems, parse_body, parse_choice, parse_integer, parse_member, parse_not_negative, parse_positive
from .rules import Nth, PerPassLimit, When
from .triggers import BalanceTrigger, EventTrigger, SegmentTrigger, TierChange, TierTrigger, Trigger

TRIGGERS = ("event", "segmentEntered", "segmentLeft", "tier", "balance")
WEEKDAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
MAX_NUMBER = 1_000_000
"""Number of an event in `nth`, and firings that a limit allows."""
DAY_MINUTES = 1_440
_TIME = re.compile(r"([01]\d|2[0-4]):([0-5]\d)")


def parse_trigger(raw: object, *path: str) -> Trigger:
    """Return the trigger of an input. Raises Refused with all problems."""
    kind, value = parse_choice(raw, *path, names=TRIGGERS)
    path = (*path, kind)
    body, problems = parse_body(value, *path), Problems()
    trigger: Trigger
    match kind:
        case "event":
            trigger = _parse_event(body, problems, path)
        case "segmentEntered" | "segmentLeft":
            named = problems.require(parse_text, body, *path, "segmentId", message="Name the segment by its id.")
            trigger = SegmentTrigger(named or "", entered=kind == "segmentEntered")
        case "tier":
            changes = tuple(
                dict.fromkeys(
                    parse_member(item, *path, "changes", str(index), members=TierChange)
                    for index, item in parse_list(body.get("changes"), path, "changes")
                )
            )
            trigger = TierTrigger(
                changes or tuple(TierChange), problems.read(parse_key, body.get("tierKey"), *path, "tierKey")
            )
        case _:
            name, reach = parse_choice(body, *path, names=("pointsReach", "earnedTotalReach"))
            trigger = BalanceTrigger(parse_positive(reach, *path, name), is_earned_total=name == "earnedTotalReach")
    refuse_if(problems.found)
    return trigger


def _parse_event(body: Mapping[str, object], problems: Problems, path: tuple[str, ...]) -> EventTrigger:
    types = problems.read(_parse_types, body.get("types"), *path, "types") or ()
    if not body.get("types"):
        problems.add(Code.REQUIRED, "Give at least one event type.", *path, "types")
    amount_min, amount_max = (
        problems.read(parse_not_negative, body.get(name), *path, name) for name in ("amountMin", "amountMax")
    )
    if amount_min is not None and amount_max is not None and amount_min > amount_max:
        problems.add(Code.OUT_OF_RANGE, "Give an amountMax that is not below amountMin.", *path, "amountMax")
    return EventTrigger(
        types,
        sources=problems.read(_parse_sources, body.get("sources"), *path, "sources") or (),
        categories=problems.read(_parse_categories, body.get("categories"), *path, "categories") or (),
        currency=problems.read(parse_currency, body.get("currency"), *path, "currency"),
        amount_min=amount_min,
        amount_max=amount_max,
    )


def _parse_types(raw: object, *path: str) -> tuple[str, ...]:
    return parse_names(raw, path, parse_type)


def _parse_sources(raw: object, *path: str) -> tuple[str, ...]:
    return parse_names(raw, path, parse_text)


def _parse_categories(raw: object, *path: str) -> tuple[Category, ...]:
    return tuple(Category(name) for name in parse_names(raw, path, parse_category_name))


def parse_nth(raw: object, *path: str) -> Nth:
    """Return the numbers of the matching event at which a rule fires. Raises InvalidInput."""
    name, value = parse_choice(raw, *path, names=("equals", "every"))
    number = parse_integer(value, *path, name, least=1, most=MAX_NUMBER)
    return Nth(equals=number) if name == "equals" else Nth(every=number)


def parse_when(raw: object, *path: str) -> When | None:
    """Return the hours of the week at which a rule fires; None for all. Raises Refused."""
    body, problems = parse_body(raw, *path), Problems()
    weekdays = problems.read(_parse_weekdays, body.get("weekdays"), *path, "weekdays") or ()
    start, end = (problems.read(parse_time, body.get(name), *path, name) for name in ("from", "to"))
    if start == DAY_MINUTES:
        problems.add(Code.OUT_OF_RANGE, "The last minute of a day begins at 23:59.", *path, "from")
    if body.get("from") is not None or body.get("to") is not None:
        start, end = start or 0, DAY_MINUTES if end is None else end
        if start == end and not problems.found:
            problems.add(
                Code.INVALID, "Give a to that differs from from; leave both out for the whole day.", *path, "to"
            )
    refuse_if(problems.found)
    return When(weekdays, start, end) if weekdays or start is not None else None


def _parse_weekdays(raw: object, *path: str) -> tuple[int, ...]:
    days = set()
    for index, item in parse_list(raw, path[:-1], path[-1]):
        if str(item) not in WEEKDAYS:
            raise InvalidInput(Code.UNKNOWN, f"Give one of {', '.join(WEEKDAYS)}.", *path, str(index))
        days.add(WEEKDAYS.index(str(item)))
    return tuple(sorted(days))


def parse_time(raw: object, *path: str) -> int:
    """Return the minutes from midnight of a time "HH:MM". Raises InvalidInput."""
    match = _TIME.fullmatch(raw) if isinstance(raw, str) else None
    minute = int(match[1]) * 60 + int(match[2]) if match else DAY_MINUTES + 1
    if minute > DAY_MINUTES:
        raise InvalidInput(Code.INVALID, 'Give a time of day as "HH:MM", from "00:00" to "24:00".', *path)
    return minute


def format_time(minute: int) -> str:
    """Return minutes from midnight as "HH:MM"."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


def parse_limits(raw: object, *path: str) -> PerPassLimit | None:
    """Return the limit for one pass, of a rule or reward, if there is one. Raises Refused."""
    per_pass = parse_body(raw, *path).get("perPass")
    if per_pass is None:
        return None
    path = (*path, "perPass")
    body, problems = parse_body(per_pass, *path), Problems()
    message = "Give how often it is allowed."
    count = problems.require(parse_integer, body, *path, "count", message=message, least=1, most=MAX_NUMBER)
    within = problems.read(parse_within, body.get("within"), *path, "within")
    calendar = problems.read(parse_member, body.get("calendar"), *path, "calendar", members=PeriodUnit)
    if within is not None and calendar is not None:
        problems.add(Code.INVALID, "Give either within or calendar.", *path, "calendar")
    if count is not None and count > MAX_INSTANTS and (within is not None or calendar is not None):
        # A pass stores so many instants for each rule and reward.
        message = f"Give at most {MAX_INSTANTS} in a time; without within and calendar, the number is free."
        problems.add(Code.OUT_OF_RANGE, message, *path, "count")
    refuse_if(problems.found)
    return PerPassLimit(count or 1, within, calendar)
