"""Warnings about criteria that are valid and look like a mistake. They never refuse a segment."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from app.domain.errors import Code, Problem
from app.domain.events.attributes import Attribute, AttributeType
from app.domain.events.event_types import EventTypes
from app.domain.events.events import INTERNAL_TYPES, TYPES
from app.domain.state.measures import METADATA, EventFilter
from app.domain.values.conditions import VALUELESS, Operator
from app.domain.values.paths import split_path
from app.domain.values.spelling import did_you_mean

from .criteria import OF_FIELDS, All, AnyOf, Criteria, EventCriterion, Metric, Not
from .pass_criteria import RELATIVE_DATE_ADVICE, PassCriterion
from .sequences import SequenceCriterion

_RELATIVE_DATE = re.compile(
    r"(?:today|yesterday|tomorrow|now|(?:last|next|this) (?:week|month|quarter|year))(?:\(\))?"
    r"|(?:now|today)?\s*[+-]\s*(?:P?T?\d+)\s*(?:[smhdwMyHDWY]|days?|weeks?|months?|years?|hours?|minutes?)"
    r"|\d+ (?:days?|weeks?|months?|years?|hours?|minutes?) (?:ago|from now)",
    re.IGNORECASE,
)
"""Texts that other systems read as a time relative to now."""
_KINDS: Mapping[AttributeType, type] = {
    AttributeType.TEXT: str,
    AttributeType.ENUM: str,
    AttributeType.DATE: str,
    AttributeType.DATETIME: str,
    AttributeType.BOOLEAN: bool,
    AttributeType.NUMBER: float,
}
"""The kind of the values of an attribute. Objects and lists have no value to compare with."""
_NAMES: Mapping[type, str] = {str: "a text", bool: "true or false", float: "a number"}


def find_warnings(criteria: Criteria, types: EventTypes, recorded: Collection[str], *path: str) -> Iterator[Problem]:
    """Yield the warnings about criteria, each with its path. `recorded` are the types of the events recorded so far.

    There is a warning for each of these:

    - a type that is neither defined nor recorded;
    - a path that looks like a misspelled attribute of a type that the criteria name;
    - a comparison with an attribute of another kind;
    - a text that looks like a time relative to now.
    """
    match criteria:
        case All(children) | AnyOf(children):
            kind = "all" if isinstance(criteria, All) else "any"
            for index, child in enumerate(children):
                yield from find_warnings(child, types, recorded, *path, kind, str(index))
        case Not(child):
            yield from find_warnings(child, types, recorded, *path, "not")
        case EventCriterion():
            yield from _find_in_event_criterion(criteria, types, recorded, (*path, "event"))
        case SequenceCriterion(steps):
            for index, step in enumerate(steps):
                yield from _find_in_filter(
                    step.filter, types, recorded, (*path, "sequence", "steps", str(index), "event")
                )
        case PassCriterion() if criteria.operator not in VALUELESS:
            yield from _find_relative_dates(criteria.value, (*path, "pass", "value"))


def _find_in_event_criterion(
    criterion: EventCriterion, types: EventTypes, recorded: Collection[str], path: tuple[str, ...]
) -> Iterator[Problem]:
    yield from _find_in_filter(criterion.filter, types, recorded, path)
    reads_numbers = criterion.metric in OF_FIELDS and criterion.metric is not Metric.COUNT_DISTINCT
    if criterion.metric in OF_FIELDS and criterion.summed_field.startswith(METADATA):
        steps = split_path(criterion.summed_field)[1:]
        yield from _find_misspelled(criterion.filter, types, steps, (*path, "field"))
    if reads_numbers and criterion.summed_field.startswith(METADATA):
        for name, attribute in _find_attributes(criterion.filter, types, split_path(criterion.summed_field)[1:]):
            if attribute.type is not AttributeType.NUMBER:
                message = (
                    f"The attribute '{attribute.name}' of '{name}' is a {attribute.type}, so it may hold no numbers."
                )
                yield Problem(Code.INVALID, f"{message} Give another attribute.", (*path, "field"))


def unknown_type(name: str, types: EventTypes, recorded: Collection[str]) -> str:
    """Return the warning about an event type that is neither defined nor recorded."""
    advice = did_you_mean(name, ({*TYPES} - INTERNAL_TYPES) | {*types.defined, *recorded}) or " Check the spelling."
    return f"No event type '{name}' is defined, and no event of that type is recorded.{advice}"


def _find_in_filter(
    events: EventFilter, types: EventTypes, recorded: Collection[str], path: tuple[str, ...]
) -> Iterator[Problem]:
    for index, name in enumerate(events.types):
        if name not in TYPES and types.get(name) is None and name not in recorded:
            yield Problem(Code.UNKNOWN, unknown_type(name, types, recorded), (*path, "types", str(index)))
    for index, condition in enumerate(events.metadata):
        yield from _find_misspelled(events, types, condition.steps, (*path, "metadata", str(index), "path"))
        if condition.operator not in VALUELESS:
            at = (*path, "metadata", str(index), "value")
            yield from _find_relative_dates(condition.value, at)
            for name, attribute in _find_attributes(events, types, condition.steps):
                yield from _find_misfits(name, attribute, condition.operator, condition.value, at)


def _find_attributes(events: EventFilter, types: EventTypes, steps: tuple[str, ...]) -> Iterator[tuple[str, Attribute]]:
    """Yield the attributes at a path, with their types: of the types that the filter names, or of all types."""
    names = events.types or [each.key for each in types.defined.values() if not each.archived]
    # Indexes name elements of a list, and attributes go through lists by themselves.
    wanted = tuple(step for step in steps if not step.isdigit())
    for name in names:
        found = types.get(name)
        for attribute in found.attributes if found is not None else ():
            if attribute.steps == wanted:
                yield name, attribute


def _find_misspelled(
    events: EventFilter, types: EventTypes, steps: tuple[str, ...], at: tuple[str, ...]
) -> Iterator[Problem]:
    """Yield a warning for a path that no named type has as an attribute, if one of them has an attribute that is like it."""
    wanted = ".".join(step for step in steps if not step.isdigit())
    defined = [found for name in events.types if (found := types.get(name)) is not None]
    paths = {".".join(attribute.steps) for found in defined for attribute in found.attributes}
    if not wanted or any(path == wanted or path.startswith(f"{wanted}.") for path in paths):
        return
    if advice := did_you_mean(wanted, paths):
        yield Problem(Code.UNKNOWN, f"No attribute of these event types is '{wanted}'.{advice}", at)


def _find_misfits(
    name: str, attribute: Attribute, operator: Operator, value: object, at: tuple[str, ...]
) -> Iterator[Problem]:
    """Yield a warning for each value that no value of the attribute equals or is in order with."""
    kind = _KINDS.get(attribute.type)
    for index, each in enumerate(value if isinstance(value, tuple) else (value,)):
        where = (*at, str(index)) if isinstance(value, tuple) else at
        about = f"The attribute '{attribute.name}' of '{name}' is a {attribute.type}"
        if kind is None:
            if attribute.type is AttributeType.OBJECT:
                yield Problem(Code.INVALID, f"{about}; compare one of the values in it.", where)
        elif _kind_of(each) is not kind:
            given, wanted = _NAMES[_kind_of(each)], _NAMES[kind]
            message = f"{about}, and {given} is never equal to it, greater or less; give {wanted}."
            yield Problem(Code.INVALID, message, where)
        elif (
            attribute.type is AttributeType.ENUM
            and operator in (Operator.EQ, Operator.NE, Operator.IN, Operator.NOT_IN)
            and each not in attribute.allowed_values
        ):
            yield Problem(Code.UNKNOWN, f"{about}, and '{each}' is none of its values; check the spelling.", where)


def _kind_of(value: object) -> type:
    return bool if isinstance(value, bool) else str if isinstance(value, str) else float


def _find_relative_dates(value: object, at: tuple[str, ...]) -> Iterator[Problem]:
    for index, each in enumerate(value if isinstance(value, tuple) else (value,)):
        if isinstance(each, str) and _RELATIVE_DATE.fullmatch(each.strip()):
            where = (*at, str(index)) if isinstance(value, tuple) else at
            message = f"'{each}' is compared as a text, letter by letter. {RELATIVE_DATE_ADVICE}"
            yield Problem(Code.UNSUPPORTED, message, where)
