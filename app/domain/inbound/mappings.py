"""Mappings: how a JSON body from a foreign system becomes events. Declarative, and nothing in it is executed.

{"items": "lines",                                   where the events are: a list, an object, or text that holds JSON
 "when": [{"path": "$body.topic", "operator": "EQ", "value": "order.paid"}],          which of them are taken
 "fields": {"passExternalId": "$body.customer.email",                                 a path
            "type": {"path": "kind", "map": {"sale": "purchase"}, "default": "custom"},
            "amount": {"path": "total_cents", "scale": 2},                            2930 is 29.30
            "occurredAt": {"path": "created", "format": "UNIX_SECONDS"},
            "externalId": {"template": "{$body.id}-{sku}"}},
 "metadata": {"store": "$body.location.name"}}                                        or the path of an object
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation

from app.domain.errors import Code, InvalidInput, Problem, Refused, refuse_if
from app.domain.events.events import EventInput
from app.domain.values.conditions import Operator, compare, parse_condition
from app.domain.values.text import parse_object

from .mapped_values import MappedValue, parse_mapped_value, plain_json
from .paths import HEADERS, ITEM, Path, Scope, parse_path

MAX_BYTES = 32_768
MAX_CONDITIONS = 20
MAX_ITEMS = 1_000
MAX_METADATA = 50
REQUIRED = ("passExternalId", "type")
NEVER_ABSENT = (*REQUIRED, "occurredAt", "externalId")
"""Fields that every event has where they are mapped: what would stand in for them is never what was meant."""
_PARTS = ("items", "when", "fields", "metadata")
_OTHERWISE = frozenset({"pass_id", "source", "metadata", "staff"})


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


FIELDS: Mapping[str, str] = {_camel(f.name): f.name for f in fields(EventInput) if f.name not in _OTHERWISE}
"""What a mapping may fill: the fields of recordEvents' items that a foreign system can know.

`correctionOf` is the external id, within the hook's source, of the event that is corrected.
"""


@dataclass(frozen=True, slots=True)
class When:
    """One condition on what was sent."""

    path: Path
    operator: Operator
    value: object

    def holds(self, scope: Scope) -> bool:
        """Whether it is true of an item."""
        return compare(self.path.of(scope), self.operator, self.value)


@dataclass(frozen=True, slots=True)
class MappedItem:
    """What a mapping made of the item at `index`: an event, problems, or neither where the conditions leave it out."""

    index: int
    event: EventInput | None = None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class EventMapping:
    """A checked mapping; `text` is its canonical spelling."""

    items: Path | None
    when: tuple[When, ...]
    values: tuple[MappedValue, ...]
    metadata: Path | tuple[MappedValue, ...] | None
    text: str

    def items_of(
        self, body: object, headers: Mapping[str, str], identity: str, only: Sequence[int] | None = None
    ) -> list[MappedItem]:
        """What each item of a body becomes, in order; with `only`, those at these places.

        An event without a mapped external id is known as `identity`, a point and its place. Raises InvalidInput at
        `items` where the body has none, or more than 1,000.
        """
        items = self._items(body, headers)
        places = range(len(items)) if only is None else [place for place in only if place < len(items)]
        return [self._mapped(place, Scope(items[place], body, headers), identity) for place in places]

    def named(self, body: object, headers: Mapping[str, str]) -> tuple[str, ...]:
        """The external ids of the passes that any item of a body names, taken or not; none where it cannot be mapped."""
        by = next(value for value in self.values if value.name == "passExternalId")
        found: dict[str, None] = {}
        with suppress(Refused):
            for item in self._items(body, headers):
                with suppress(Refused):
                    if (name := by.of(Scope(item, body, headers))) is not None:
                        found[str(name)] = None
        return tuple(found)

    @property
    def place(self) -> str:
        """Where it finds the items."""
        return ITEM if self.items is None else self.items.text

    @property
    def headers(self) -> tuple[str, ...]:
        """The names of the headers that it reads."""
        paths = [when.path for when in self.when]
        paths += [path for value in self.values for path in value.sources]
        if isinstance(self.metadata, tuple):
            paths += [path for value in self.metadata for path in value.sources]
        return tuple(sorted({".".join(path.steps).lower() for path in paths if path.root == HEADERS}))

    def _items(self, body: object, headers: Mapping[str, str]) -> list[object]:
        if self.items is None:
            return [body]
        found = self.items.of(Scope(body, body, headers))
        if isinstance(found, str):
            found = decode_body(found.encode("utf-8", "surrogatepass"), "items")
        if isinstance(found, Mapping):
            return [found]
        if not isinstance(found, list):
            raise InvalidInput(Code.REQUIRED, f"There is no list or object at '{self.items.text}'.", "items")
        if len(found) > MAX_ITEMS:
            raise InvalidInput(Code.TOO_MANY, f"{len(found)} items; at most {MAX_ITEMS} in one delivery.", "items")
        return found

    def _mapped(self, place: int, scope: Scope, identity: str) -> MappedItem:
        if not all(when.holds(scope) for when in self.when):
            return MappedItem(place)
        problems: list[Problem] = []
        made: dict[str, object] = {}
        for value in self.values:
            try:
                made[value.name] = value.of(scope)
            except Refused as refused:
                problems += refused.problems
                continue
            if made[value.name] is None and value.name in NEVER_ABSENT:
                problems.append(Problem(Code.REQUIRED, f"There is nothing at {_places(value)}.", (value.name,)))
        metadata: object = None
        try:
            metadata = self._metadata(scope)
        except Refused as refused:
            problems += refused.problems
        if problems:
            return MappedItem(place, None, tuple(problems))
        made.setdefault("externalId", f"{identity}.{place}")
        return MappedItem(place, EventInput(**{FIELDS[name]: value for name, value in made.items()}, metadata=metadata))

    def _metadata(self, scope: Scope) -> object:
        if self.metadata is None:
            return None
        if isinstance(self.metadata, Path):
            return plain_json(self.metadata.of(scope))
        found = {value.name.removeprefix("metadata."): value.of(scope) for value in self.metadata}
        return {name: value for name, value in found.items() if value is not None} or None


def parse_mapping(raw: object, *field: str) -> EventMapping:
    """The mapping of a JSON object, at most 32 KB. Raises Refused with the path of each part at fault."""
    given, text = parse_object(raw, *field, most_bytes=MAX_BYTES)
    problems = [
        Problem(Code.UNKNOWN, f"One of {', '.join(_PARTS)}.", (*field, name)) for name in given if name not in _PARTS
    ]
    items = None
    values: dict[str, MappedValue] = {}
    when: list[When] = []
    metadata: Path | tuple[MappedValue, ...] | None = None
    try:
        items = None if given.get("items") is None else parse_path(given["items"], *field, "items")
    except Refused as refused:
        problems += refused.problems
    try:
        when = _conditions(given.get("when"), *field, "when")
    except Refused as refused:
        problems += refused.problems
    sent = given.get("fields")
    if not isinstance(sent, Mapping):
        says = 'Say where each field comes from, for example {"passExternalId": "customer.email", "type": "kind"}.'
        problems.append(Problem(Code.REQUIRED, says, (*field, "fields")))
        sent = dict.fromkeys(REQUIRED, "-")
    # In the order in which it is stored: a mapping sent again in another order is the same.
    for name, part in sorted(sent.items()):
        at = (*field, "fields", name)
        if name not in FIELDS:
            problems.append(Problem(Code.UNKNOWN, f"One of {', '.join(FIELDS)}.", at))
            continue
        try:
            values[name] = parse_mapped_value(part, name, *at)
        except Refused as refused:
            problems += refused.problems
    problems += [
        Problem(Code.REQUIRED, f"Say where {name} comes from.", (*field, "fields", name))
        for name in REQUIRED
        if name not in sent
    ]
    try:
        metadata = _parse_metadata(given.get("metadata"), *field, "metadata")
    except Refused as refused:
        problems += refused.problems
    refuse_if(problems)
    return EventMapping(items, tuple(when), tuple(values.values()), metadata, text)


def mapping_from_json(text: str) -> EventMapping:
    """The mapping that was stored as this text."""
    return parse_mapping(json.loads(text))


def decode_body(raw: bytes, *field: str) -> object:
    """The JSON value of a body, its decimals exact. Raises InvalidInput for what is not JSON in UTF-8, or too deep."""
    try:
        return _decoder.decode(raw.decode("utf-8-sig"))
    except (ValueError, InvalidOperation, RecursionError):
        raise InvalidInput(Code.INVALID, "This is not JSON in UTF-8, or is nested too deeply.", *field) from None


def _not_json(constant: str) -> object:
    raise ValueError(constant)


_decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=_not_json)


def _places(value: MappedValue) -> str:
    return " or ".join(f"'{path.text}'" for path in value.sources)


def _conditions(raw: object, *field: str) -> list[When]:
    if raw is None:
        return []
    if not isinstance(raw, list):
        raise InvalidInput(Code.INVALID, "Give a list of conditions, all of which have to hold.", *field)
    if len(raw) > MAX_CONDITIONS:
        raise InvalidInput(Code.TOO_MANY, f"At most {MAX_CONDITIONS} conditions.", *field)
    found = []
    for index, each in enumerate(raw):
        at = (*field, str(index))
        condition = parse_condition(each, *at)
        found.append(When(parse_path(condition.path, *at, "path"), condition.operator, condition.value))
    return found


def _parse_metadata(raw: object, *field: str) -> Path | tuple[MappedValue, ...] | None:
    if raw is None:
        return None
    if isinstance(raw, str):
        return parse_path(raw, *field)
    if not isinstance(raw, Mapping):
        raise InvalidInput(Code.INVALID, "Give the path of an object, or an object of paths.", *field)
    if len(raw) > MAX_METADATA:
        raise InvalidInput(Code.TOO_MANY, f"At most {MAX_METADATA} names.", *field)
    return tuple(parse_mapped_value(part, f"metadata.{name}", *field, name) for name, part in sorted(raw.items()))
