"""Attributes of event types: what an event's metadata has to hold, and what speaks against an event that does not."""

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
MAX_REPORTED = 20
"""How many problems of one event's metadata are told."""
MAX_EXAMINED = 5_000
"""How many values of an event are held against its definition: attributes that go through lists meet each of their items."""
_NUMBER = re.compile(r"-?\d{1,30}(?:\.\d{1,30})?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


class AttributeType(StrEnum):
    """What the value of an attribute is."""

    TEXT = "TEXT"
    NUMBER = "NUMBER"
    BOOLEAN = "BOOLEAN"
    DATE = "DATE"
    DATETIME = "DATETIME"
    ENUM = "ENUM"
    OBJECT = "OBJECT"
    LIST = "LIST"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One value in the metadata of an event: `name` is its dotted path, `list` says that it is a list of such values.

    A path goes through every object of a list: "items.sku" is the `sku` of each of the `items`.
    """

    name: str
    type: AttributeType
    required: bool = False
    list: bool = False
    description: str | None = None
    allowed_values: tuple[str, ...] = ()
    steps: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Takes the path apart once, and not for every event."""
        object.__setattr__(self, "steps", tuple(self.name.split(".")))


def find_violations(attributes: Sequence[Attribute], metadata: Mapping[str, object]) -> tuple[Problem, ...]:
    """What is wrong with the metadata of an event, at most 20 problems, each with its path from `metadata`.

    What no attribute speaks of is welcome; null is the same as absent.
    """
    return tuple(islice(_violations(attributes, metadata), MAX_REPORTED))


def parse_attributes(raw: Sequence[Mapping[str, object]], *field: str) -> tuple[Attribute, ...]:
    """The attributes from {name, type, required, list, description, allowedValues}, at most 100 with different names.

    Raises Refused with the path of every part at fault; LimitExceeded where there are too many.
    """
    if len(raw) > MAX_ATTRIBUTES:
        raise LimitExceeded(f"At most {MAX_ATTRIBUTES} attributes a type.", *field)
    problems: list[Problem] = []
    found: dict[str, Attribute] = {}
    for index, one in enumerate(raw):
        at = (*field, str(index))
        try:
            attribute = _attribute(one, *at)
        except Refused as refused:
            problems.extend(refused.problems)
            continue
        if attribute.name in found:
            problems.append(Problem(Code.TAKEN, "Another attribute has this name.", (*at, "name")))
        found.setdefault(attribute.name, attribute)
    for index, one in enumerate(raw):
        parents = str(one.get("name")).split(".")[:-1]
        above = [found.get(".".join(parents[:length])) for length in range(1, len(parents) + 1)]
        if any(parent and parent.type not in (AttributeType.OBJECT, AttributeType.LIST) for parent in above):
            says = "The attribute that holds this one is not an OBJECT."
            problems.append(Problem(Code.INVALID, says, (*field, str(index), "name")))
    if sum(len(attribute.allowed_values) for attribute in found.values()) > MAX_ALLOWED_IN_ALL:
        problems.append(Problem(Code.LIMIT, f"At most {MAX_ALLOWED_IN_ALL} allowed values in a type.", field))
    refuse_if(problems)
    return tuple(found.values())


def _attribute(raw: Mapping[str, object], *field: str) -> Attribute:
    name = parse_text(raw.get("name"), *field, "name", most=200)
    steps = name.split(".")
    if not all(steps) or len(steps) > MAX_JSON_DEPTH or any(step.startswith("$") for step in steps):
        raise InvalidInput(
            Code.INVALID,
            f'A name is up to {MAX_JSON_DEPTH} keys joined by points, for example "store.city"; none begins with "$".',
            *field,
            "name",
        )
    kind = AttributeType.__members__.get(str(raw.get("type")))
    if kind is None:
        raise InvalidInput(Code.UNKNOWN, f"One of {', '.join(AttributeType)}.", *field, "type")
    return Attribute(
        name,
        kind,
        bool(raw.get("required")),
        bool(raw.get("list")),
        parse_optional(raw.get("description"), *field, "description", most=MAX_DESCRIPTION),
        _allowed(raw.get("allowedValues"), kind, *field, "allowedValues"),
    )


def _allowed(raw: object, kind: AttributeType, *field: str) -> tuple[str, ...]:
    values = list(raw) if isinstance(raw, Sequence) and not isinstance(raw, str) else []
    if kind is not AttributeType.ENUM:
        if values:
            raise InvalidInput(Code.INVALID, "Only an ENUM has allowed values.", *field)
        return ()
    if not values:
        raise InvalidInput(Code.REQUIRED, "Say which values an ENUM allows.", *field)
    if len(values) > MAX_ALLOWED_VALUES:
        raise InvalidInput(Code.TOO_MANY, f"At most {MAX_ALLOWED_VALUES} values.", *field)
    return tuple(dict.fromkeys(parse_text(value, *field, str(index)) for index, value in enumerate(values)))


def _violations(attributes: Sequence[Attribute], metadata: Mapping[str, object]) -> Iterator[Problem]:
    examined = 0
    for attribute in attributes:
        for path, value in _reached(metadata, attribute.steps, ("metadata",)):
            examined += 1
            if examined > MAX_EXAMINED:
                says = f"Its lists are too long for the attributes of this type: {MAX_EXAMINED} values at most."
                yield Problem(Code.LIMIT, says, ("metadata",))
                return
            if value is None:
                if attribute.required:
                    yield Problem(Code.REQUIRED, f"Events of this type have '{attribute.name}'.", path)
            elif attribute.list:
                yield from _of_list(attribute, value, path)
            elif problem := _against(attribute, value, path):
                yield problem


def _reached(
    value: object, steps: tuple[str, ...], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], object | None]]:
    """(path, value) of everything that the steps lead to; None where they lead nowhere."""
    for depth, step in enumerate(steps):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from _reached(item, steps[depth:], (*path, *steps[:depth], str(index)))
            return
        else:
            value = None
            break
    yield path + steps, value


def _of_list(attribute: Attribute, value: object, path: tuple[str, ...]) -> Iterator[Problem]:
    if not isinstance(value, list):
        yield Problem(Code.INVALID, "Give a list.", path)
        return
    for index, item in enumerate(value):
        if problem := _against(attribute, item, (*path, str(index))):
            yield problem


def _against(attribute: Attribute, value: object, path: tuple[str, ...]) -> Problem | None:
    if attribute.type is AttributeType.ENUM:
        if isinstance(value, str) and value in attribute.allowed_values:
            return None
        shown = ", ".join(attribute.allowed_values[:20])
        return Problem(Code.UNKNOWN, f"One of {shown}{', …' if len(attribute.allowed_values) > 20 else ''}.", path)
    is_one, advice = _KINDS[attribute.type]
    return None if is_one(value) else Problem(Code.INVALID, advice, path)


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


_KINDS: Mapping[AttributeType, tuple[Callable[[object], bool], str]] = {
    AttributeType.TEXT: (lambda value: isinstance(value, str), "Give a text."),
    AttributeType.NUMBER: (_is_number, 'Give a number, or one written as text: 12.5 or "12.50".'),
    AttributeType.BOOLEAN: (lambda value: isinstance(value, bool), "Give true or false."),
    AttributeType.DATE: (_is_date, "Give a date, for example 2026-01-31."),
    AttributeType.DATETIME: (_is_instant, "Give an instant as RFC 3339 with an offset: 2026-01-31T09:30:00Z."),
    AttributeType.OBJECT: (lambda value: isinstance(value, Mapping), "Give an object."),
    AttributeType.LIST: (lambda value: isinstance(value, list), "Give a list."),
}
