"""Attributes of event types: the values that an event's metadata must have, and the check of the metadata."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from itertools import islice

from app.domain.errors import Code, InvalidInput, LimitExceeded, Problem, Refused, refuse_if
from app.domain.values.instants import parse_instant
from app.domain.values.text import MAX_JSON_DEPTH, parse_optional, parse_text

MAX_ATTRIBUTES = 100
MAX_ALLOWED_VALUES = 200
MAX_ALLOWED_IN_ALL = 1_000
MAX_DESCRIPTION = 500
MAX_MARKED = 3
"""Attributes of one event type that are dimensions."""
MAX_REPORTED = 20
"""Problems that are reported for the metadata of one event."""
MAX_EXAMINED = 5_000
"""Values and elements of lists of one event that are checked.

An attribute with a path through a list has a value in each item of the list.
"""
_NUMBER = re.compile(r"-?\d{1,30}(?:\.\d{1,30})?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


class AttributeType(StrEnum):
    """Type of the value of an attribute."""

    TEXT = "TEXT"
    NUMBER = "NUMBER"
    BOOLEAN = "BOOLEAN"
    DATE = "DATE"
    DATETIME = "DATETIME"
    ENUM = "ENUM"
    OBJECT = "OBJECT"
    LIST = "LIST"


DIMENSION_TYPES = frozenset({AttributeType.TEXT, AttributeType.NUMBER, AttributeType.ENUM})
"""Types of the attributes that may be dimensions."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """Value in the metadata of an event. `name` is its dotted path.

    With `list`, the value is a list of values of `type`. A path goes through every object of a list: "items.sku" is the
    `sku` of each of the `items`. Rollups keep totals by the values of a `dimension`, unless it is `overflowing`: it has
    had too many values in one period.
    """

    name: str
    type: AttributeType
    required: bool = False
    list: bool = False
    description: str | None = None
    allowed_values: tuple[str, ...] = ()
    dimension: bool = False
    overflowing: bool = False
    steps: tuple[str, ...] = field(init=False, repr=False, compare=False)
    allowed: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Split the path once, instead of for each event."""
        object.__setattr__(self, "steps", tuple(self.name.split(".")))
        object.__setattr__(self, "allowed", frozenset(self.allowed_values))


class TooManyValues(Exception):
    """The metadata of one event has more values than are checked."""


@dataclass(slots=True)
class Examined:
    """Number of values that were checked: in the metadata of one event, and of all events of a call."""

    of_event: int = 0
    of_call: int = 0

    def count(self) -> None:
        """Count one more value. Raises TooManyValues beyond the limit for one event."""
        self.of_event += 1
        self.of_call += 1
        if self.of_event > MAX_EXAMINED:
            raise TooManyValues


def find_violations(
    attributes: Sequence[Attribute], metadata: Mapping[str, object], examined: Examined | None = None
) -> tuple[Problem, ...]:
    """Return the problems of an event's metadata, at most 20, each with its path from `metadata`.

    Metadata may hold values that no attribute defines. A null counts as absent. `examined` counts the values checked.
    """
    examined = Examined() if examined is None else examined
    examined.of_event = 0
    return tuple(islice(_iter_violations(attributes, metadata, examined), MAX_REPORTED))


def parse_attributes(raw: Sequence[Mapping[str, object]], *field: str) -> tuple[Attribute, ...]:
    """Return the attributes from {name, type, required, list, description, allowedValues, dimension}, at most 100.

    Raises Refused with the path of each invalid part, and LimitExceeded for too many attributes.
    """
    if len(raw) > MAX_ATTRIBUTES:
        raise LimitExceeded(f"An event type has at most {MAX_ATTRIBUTES} attributes; remove some.", *field)
    problems: list[Problem] = []
    found: dict[str, Attribute] = {}
    for index, one in enumerate(raw):
        at = (*field, str(index))
        try:
            attribute = _parse_attribute(one, *at)
        except Refused as refused:
            problems.extend(refused.problems)
            continue
        if attribute.name in found:
            problems.append(Problem(Code.TAKEN, "Another attribute has this name; choose another.", (*at, "name")))
        found.setdefault(attribute.name, attribute)
    for index, one in enumerate(raw):
        parents = str(one.get("name")).split(".")[:-1]
        ancestors = [found.get(".".join(parents[:length])) for length in range(1, len(parents) + 1)]
        if any(ancestor and ancestor.type not in (AttributeType.OBJECT, AttributeType.LIST) for ancestor in ancestors):
            message = "The attribute that contains this one must have the type OBJECT or LIST; change its type."
            problems.append(Problem(Code.INVALID, message, (*field, str(index), "name")))
    if sum(len(attribute.allowed_values) for attribute in found.values()) > MAX_ALLOWED_IN_ALL:
        message = f"The attributes of a type have at most {MAX_ALLOWED_IN_ALL} allowed values together; remove some."
        problems.append(Problem(Code.LIMIT, message, field))
    if sum(attribute.dimension for attribute in found.values()) > MAX_MARKED:
        message = f"At most {MAX_MARKED} attributes of a type are dimensions; take the mark from some."
        problems.append(Problem(Code.LIMIT, message, field))
    refuse_if(problems)
    return tuple(found.values())


def _parse_attribute(raw: Mapping[str, object], *field: str) -> Attribute:
    name = parse_text(raw.get("name"), *field, "name", max_length=200)
    steps = name.split(".")
    if not all(steps) or len(steps) > MAX_JSON_DEPTH or any(step.startswith("$") for step in steps):
        raise InvalidInput(
            Code.INVALID,
            f'Give up to {MAX_JSON_DEPTH} keys joined by points, for example "store.city"; no key begins with "$".',
            *field,
            "name",
        )
    kind = AttributeType.__members__.get(str(raw.get("type")))
    if kind is None:
        raise InvalidInput(Code.UNKNOWN, f"Give one of {', '.join(AttributeType)}.", *field, "type")
    is_list, is_dimension = bool(raw.get("list")), bool(raw.get("dimension"))
    if is_dimension and (is_list or kind not in DIMENSION_TYPES):
        message = "Only a TEXT, a NUMBER or an ENUM that is no list is a dimension; leave out the mark."
        raise InvalidInput(Code.UNSUPPORTED, message, *field, "dimension")
    return Attribute(
        name,
        kind,
        bool(raw.get("required")),
        list=is_list,
        description=parse_optional(raw.get("description"), *field, "description", max_length=MAX_DESCRIPTION),
        allowed_values=_parse_allowed_values(raw.get("allowedValues"), kind, *field, "allowedValues"),
        dimension=is_dimension,
    )


def _parse_allowed_values(raw: object, kind: AttributeType, *field: str) -> tuple[str, ...]:
    values = list(raw) if isinstance(raw, Sequence) and not isinstance(raw, str) else []
    if kind is not AttributeType.ENUM:
        if values:
            raise InvalidInput(Code.INVALID, "Only an ENUM has allowed values; leave them out.", *field)
        return ()
    if not values:
        raise InvalidInput(Code.REQUIRED, "Give the values that the ENUM allows.", *field)
    if len(values) > MAX_ALLOWED_VALUES:
        raise InvalidInput(Code.TOO_MANY, f"Give at most {MAX_ALLOWED_VALUES} values.", *field)
    return tuple(dict.fromkeys(parse_text(value, *field, str(index)) for index, value in enumerate(values)))


def _iter_violations(
    attributes: Sequence[Attribute], metadata: Mapping[str, object], examined: Examined
) -> Iterator[Problem]:
    try:
        for attribute in attributes:
            for path, value in _iter_values(metadata, attribute.steps, ("metadata",)):
                examined.count()
                if value is None:
                    if attribute.required:
                        message = f"Events of this type need the attribute '{attribute.name}'; give a value."
                        yield Problem(Code.REQUIRED, message, path)
                elif attribute.list:
                    yield from _iter_list_violations(attribute, value, path, examined)
                elif problem := _find_violation(attribute, value, path):
                    yield problem
    except TooManyValues:
        message = f"The attributes of this type have more than {MAX_EXAMINED} values here; shorten the lists."
        yield Problem(Code.LIMIT, message, ("metadata",))


def _iter_values(
    value: object, steps: tuple[str, ...], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], object | None]]:
    """Yield (path, value) of each value that the steps lead to. The value is None if it is absent."""
    for depth, step in enumerate(steps):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                # A list that lies directly in a list has no members, as in the paths of conditions.
                entered = None if isinstance(item, list) else item
                yield from _iter_values(entered, steps[depth:], (*path, *steps[:depth], str(index)))
            return
        else:
            value = None
            break
    yield path + steps, value


def _iter_list_violations(
    attribute: Attribute, value: object, path: tuple[str, ...], examined: Examined
) -> Iterator[Problem]:
    if not isinstance(value, list):
        yield Problem(Code.INVALID, "Give a list.", path)
        return
    for index, item in enumerate(value):
        examined.count()
        if problem := _find_violation(attribute, item, (*path, str(index))):
            yield problem


def _find_violation(attribute: Attribute, value: object, path: tuple[str, ...]) -> Problem | None:
    if attribute.type is AttributeType.ENUM:
        if isinstance(value, str) and value in attribute.allowed:
            return None
        first_values = ", ".join(attribute.allowed_values[:20])
        more = ", …" if len(attribute.allowed_values) > 20 else ""
        return Problem(Code.UNKNOWN, f"Give one of {first_values}{more}.", path)
    is_valid, advice = _CHECKS[attribute.type]
    return None if is_valid(value) else Problem(Code.INVALID, advice, path)


def _is_number(value: object) -> bool:
    if isinstance(value, str):
        return _NUMBER.fullmatch(value) is not None
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_date(value: object) -> bool:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        return False
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_instant(value: object) -> bool:
    try:
        parse_instant(value)
    except Refused:
        return False
    return True


_CHECKS: Mapping[AttributeType, tuple[Callable[[object], bool], str]] = {
    AttributeType.TEXT: (lambda value: isinstance(value, str), "Give a text."),
    AttributeType.NUMBER: (_is_number, 'Give a number, or a text that holds a number: 12.5 or "12.50".'),
    AttributeType.BOOLEAN: (lambda value: isinstance(value, bool), "Give true or false."),
    AttributeType.DATE: (_is_date, "Give a date, for example 2026-01-31."),
    AttributeType.DATETIME: (_is_instant, "Give an instant as RFC 3339 with an offset: 2026-01-31T09:30:00Z."),
    AttributeType.OBJECT: (lambda value: isinstance(value, Mapping), "Give an object."),
    AttributeType.LIST: (lambda value: isinstance(value, list), "Give a list."),
}
