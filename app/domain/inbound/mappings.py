"""Mappings: the rules by which JSON messages of another system become events. Nothing in a mapping is executed.

An example, with explanations on the right:

{"items": "lines",                                   path of the items: a list, an object, or a text that is JSON
 "when": [{"path": "$body.topic", "operator": "EQ", "value": "order.paid"}],          only items that match are mapped
 "fields": {"passExternalId": "$body.customer.email",                                 a path
            "type": {"path": "kind", "map": {"sale": "purchase"}, "default": "custom"},
            "amount": {"path": "total_cents", "scale": 2},                            2930 is 29.30
            "occurredAt": {"path": "created", "format": "UNIX_SECONDS"},
            "externalId": {"template": "{$body.id}-{sku}"}},
 "metadata": {"store": "$body.location.name"}}                                        or the path of an object
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation

from app.domain.errors import Code, InvalidInput, Problem, Refused, refuse_if
from app.domain.events.events import EventInput
from app.domain.values.conditions import Condition, parse_condition
from app.domain.values.json_values import keep_numbers
from app.domain.values.paths import split_keys
from app.domain.values.text import parse_object

from .mapped_values import METADATA, MappedValue, parse_mapped_value
from .metadata_room import MetadataRoom
from .paths import BODY, HEADERS, ITEM, Path, Scope, parse_path

MAX_BYTES = 32_768
"""Size of a mapping as canonical JSON."""
MAX_CONDITIONS = 20
MAX_ITEMS = 1_000
"""Items of one message."""
MAX_METADATA = 50
"""Names that a mapping gives to metadata values."""
REQUIRED = ("passExternalId", "type")
NEVER_ABSENT = (*REQUIRED, "occurredAt", "externalId")
"""Fields that need a value in every item if they are mapped: the default of the server would hide a wrong mapping."""
_PARTS = ("items", "when", "fields", "metadata")
_NOT_MAPPABLE = frozenset({"pass_id", "source", "metadata", "repeat_metadata", "staff"})


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


FIELDS: Mapping[str, str] = {_camel(f.name): f.name for f in fields(EventInput) if f.name not in _NOT_MAPPABLE}
"""Fields that a mapping may fill, by their name in the API: those of `RecordEventInput` that another system can know.

`correctionOf` is the external id, within the hook's source, of the event to correct.
"""


@dataclass(frozen=True, slots=True)
class MappingCondition:
    """A condition on an item, on the whole body or on a header. The path of `condition` begins below the root."""

    path: Path
    condition: Condition

    def matches(self, scope: Scope) -> bool:
        """Return whether the condition is true. The item and the body in `scope` have their keys split at points."""
        if self.path.root == HEADERS:
            name = ".".join(self.path.steps).lower()
            return self.condition.matches_values([scope.headers[name]] if name in scope.headers else [])
        return self.condition.holds(scope.body if self.path.root == BODY else scope.item)


@dataclass(frozen=True, slots=True)
class MappedItem:
    """The result for the item at `index`: an event, or problems, or neither if the conditions exclude the item."""

    index: int
    event: EventInput | None = None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class EventMapping:
    """A checked mapping. `text` is its canonical JSON."""

    items: Path | None
    when: tuple[MappingCondition, ...]
    values: tuple[MappedValue, ...]
    metadata: Path | tuple[MappedValue, ...] | None
    text: str

    def map_items(
        self,
        body: object,
        headers: Mapping[str, str],
        identity: str,
        only: Sequence[int] | None = None,
        *,
        metadata_bytes: int = 32_768,
    ) -> list[MappedItem]:
        """Map each item of a body, in order, or only the items at the indexes in `only`.

        An item fails if its metadata has more than `metadata_bytes`. So do all further items once the metadata of the
        message has more than 2 MB. If the mapping gives no external id, an event gets `identity`, a point and the
        item's index. Raises InvalidInput at `items` if the body has no items there, or more than 1,000.
        """
        items = self._find_items(body, headers)
        indexes = range(len(items)) if only is None else [index for index in only if index < len(items)]
        of_items = [condition for condition in self.when if condition.path.root == ITEM]
        # Conditions on the body and on headers have one result for all items, and the body may be large.
        of_message = [condition for condition in self.when if condition.path.root != ITEM]
        has_body_condition = any(condition.path.root == BODY for condition in of_message)
        message = Scope(None, split_keys(body) if has_body_condition else None, headers)
        message_matches = all(condition.matches(message) for condition in of_message)
        found = []
        room = MetadataRoom(metadata_bytes)
        for index in indexes:
            item = items[index]
            split = Scope(split_keys(item) if of_items and message_matches else None, None, headers)
            if message_matches and all(condition.matches(split) for condition in of_items):
                found.append(self._map_item(index, Scope(item, body, headers), identity, room))
            else:
                found.append(MappedItem(index))
        return found

    def find_pass_external_ids(self, body: object, headers: Mapping[str, str]) -> tuple[str, ...]:
        """Return the external ids of the passes that the items name, including items that the conditions exclude.

        Returns none for a body that cannot be mapped. An erasure finds a message by these ids.
        """
        return tuple(dict.fromkeys(name for name in self._iter_pass_external_ids(body, headers) if name))

    def names_every_pass(self, body: object, headers: Mapping[str, str]) -> bool:
        """Return whether each item names a pass, including items that the conditions exclude."""
        names = list(self._iter_pass_external_ids(body, headers))
        return bool(names) and all(names)

    def _iter_pass_external_ids(self, body: object, headers: Mapping[str, str]) -> Iterator[str]:
        """Yield the external id of each item, or "" if the item names no pass."""
        source = next(value for value in self.values if value.name == "passExternalId")
        with suppress(Refused):
            for item in self._find_items(body, headers):
                name = None
                with suppress(Refused):
                    name = source.resolve(Scope(item, body, headers))
                yield "" if name is None else str(name).strip()

    @property
    def items_path(self) -> str:
        """The path of the items, as text."""
        return ITEM if self.items is None else self.items.text

    @property
    def header_names(self) -> tuple[str, ...]:
        """The names of the headers that the mapping reads, in lower case."""
        paths = [when.path for when in self.when]
        paths += [path for value in self.values for path in value.sources]
        if isinstance(self.metadata, tuple):
            paths += [path for value in self.metadata for path in value.sources]
        return tuple(sorted({".".join(path.steps).lower() for path in paths if path.root == HEADERS}))

    def _find_items(self, body: object, headers: Mapping[str, str]) -> list[object]:
        if self.items is None:
            return [body]
        found = self.items.resolve(Scope(body, body, headers))
        if isinstance(found, str):
            found = decode_body(found.encode("utf-8", "surrogatepass"), "items")
        if isinstance(found, Mapping):
            return [found]
        if not isinstance(found, list):
            raise InvalidInput(Code.REQUIRED, f"The body has no list or object at '{self.items.text}'.", "items")
        if len(found) > MAX_ITEMS:
            raise InvalidInput(
                Code.TOO_MANY, f"The body has {len(found)} items; at most {MAX_ITEMS} are allowed.", "items"
            )
        return found

    def _map_item(self, index: int, scope: Scope, identity: str, room: MetadataRoom) -> MappedItem:
        problems: list[Problem] = []
        fields: dict[str, object] = {}
        for value in self.values:
            try:
                fields[value.name] = value.resolve(scope, fields.get("currency"))
            except Refused as refused:
                problems += refused.problems
                continue
            if fields[value.name] is None and value.name in NEVER_ABSENT:
                problems.append(
                    Problem(Code.REQUIRED, f"The item has no value at {_list_paths(value)}.", (value.name,))
                )
        metadata: object = None
        try:
            metadata = self._map_metadata(scope, room)
        except Refused as refused:
            problems += refused.problems
        if problems:
            return MappedItem(index, None, tuple(problems))
        fields.setdefault("externalId", f"{identity}.{index}")
        event = EventInput(**{FIELDS[name]: value for name, value in fields.items()}, metadata=metadata)
        return MappedItem(index, event)

    def _map_metadata(self, scope: Scope, room: MetadataRoom) -> object:
        if self.metadata is None:
            return None
        room.begin_item()
        if isinstance(self.metadata, Path):
            found = self.metadata.resolve(scope)
            if found is not None:
                room.take(found)
            return keep_numbers(found)
        metadata: dict[str, object] = {}
        for value in self.metadata:
            found = value.find(scope, room.in_item)
            if found is not None:
                room.take(found)
                metadata[value.name.removeprefix(METADATA)] = value.convert(found)
        return metadata or None


def parse_mapping(raw: object, *field: str, is_stored: bool = False) -> EventMapping:
    """Return the mapping of a JSON object of up to 32 KB. Raises Refused with the path of each invalid part.

    A mapping that `is_stored` was checked when it was stored, and later limits of conditions do not apply to it.
    """
    given, text = parse_object(raw, *field, max_bytes=MAX_BYTES)
    problems = [
        Problem(Code.UNKNOWN, f"A mapping has no such part; use {', '.join(_PARTS)}.", (*field, name))
        for name in given
        if name not in _PARTS
    ]
    items = None
    values: dict[str, MappedValue] = {}
    when: list[MappingCondition] = []
    metadata: Path | tuple[MappedValue, ...] | None = None
    try:
        items = None if given.get("items") is None else parse_path(given["items"], *field, "items")
    except Refused as refused:
        problems += refused.problems
    try:
        when = _parse_conditions(given.get("when"), is_stored, *field, "when")
    except Refused as refused:
        problems += refused.problems
    sent = given.get("fields")
    if not isinstance(sent, Mapping):
        message = 'Give a source for each field, for example {"passExternalId": "customer.email", "type": "kind"}.'
        problems.append(Problem(Code.REQUIRED, message, (*field, "fields")))
        sent = dict.fromkeys(REQUIRED, "-")
    # Sort by name, as the canonical text does: the order in which a client sends the fields must not matter.
    for name, part in sorted(sent.items()):
        at = (*field, "fields", name)
        if name not in FIELDS:
            problems.append(Problem(Code.UNKNOWN, f"Events have no such field; use one of {', '.join(FIELDS)}.", at))
            continue
        try:
            values[name] = parse_mapped_value(part, name, *at)
        except Refused as refused:
            problems += refused.problems
    problems += [
        Problem(Code.REQUIRED, f"Give a source for {name}: every event needs one.", (*field, "fields", name))
        for name in REQUIRED
        if name not in sent
    ]
    try:
        metadata = _parse_metadata(given.get("metadata"), *field, "metadata")
    except Refused as refused:
        problems += refused.problems
    if "amount" in values and values["amount"].needs_currency and "currency" not in sent:
        message = "The decimal places of the amount follow the currency; give a source for it."
        problems.append(Problem(Code.REQUIRED, message, (*field, "fields", "currency")))
    refuse_if(problems)
    # The currency comes first, because it may decide about the decimal places of the amount.
    values = {name: values[name] for name in sorted(values, key=lambda name: name != "currency")}
    return EventMapping(items=items, when=tuple(when), values=tuple(values.values()), metadata=metadata, text=text)


def mapping_from_json(text: str) -> EventMapping:
    """Return the mapping that was stored as this text."""
    return parse_mapping(json.loads(text), is_stored=True)


def decode_body(raw: bytes, *field: str) -> object:
    """Return the JSON value of a body, with exact decimals. Raises InvalidInput unless it is JSON in UTF-8."""
    try:
        return _decoder.decode(raw.decode("utf-8-sig"))
    except (ValueError, InvalidOperation, RecursionError):
        raise InvalidInput(Code.INVALID, "The body is not JSON in UTF-8, or is nested too deeply.", *field) from None


def _reject_constant(constant: str) -> object:
    """Raise ValueError for NaN and the infinities, which Python accepts in JSON."""
    raise ValueError(constant)


_decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=_reject_constant)


def _list_paths(value: MappedValue) -> str:
    return " or ".join(f"'{path.text}'" for path in value.sources)


def _parse_conditions(raw: object, is_stored: bool, *field: str) -> list[MappingCondition]:
    if raw is None:
        return []
    if not isinstance(raw, list):
        raise InvalidInput(
            Code.INVALID, "Give a list of conditions; an item is mapped if all of them are true.", *field
        )
    if len(raw) > MAX_CONDITIONS:
        raise InvalidInput(
            Code.TOO_MANY, f"The mapping has {len(raw)} conditions; at most {MAX_CONDITIONS} are allowed.", *field
        )
    found = []
    for index, each in enumerate(raw):
        at = (*field, str(index))
        condition = parse_condition(each, *at, is_stored=is_stored)
        path = parse_path(condition.path, *at, "path")
        operands = condition.value if isinstance(condition.value, tuple) else (condition.value,)
        if path.root == HEADERS and not is_stored and not all(isinstance(each, str | None) for each in operands):
            message = "A header is a text, so it never equals a number, true or false; give the value as text."
            raise InvalidInput(Code.INVALID, message, *at, "value")
        below = Condition(".".join(path.steps), condition.operator, condition.value)
        found.append(MappingCondition(path, below))
    return found


def _parse_metadata(raw: object, *field: str) -> Path | tuple[MappedValue, ...] | None:
    if raw is None:
        return None
    if isinstance(raw, str):
        return parse_path(raw, *field)
    if not isinstance(raw, Mapping):
        raise InvalidInput(
            Code.INVALID, "Give the path of an object, or an object with a source for each name.", *field
        )
    if len(raw) > MAX_METADATA:
        raise InvalidInput(
            Code.TOO_MANY, f"The metadata has {len(raw)} names; at most {MAX_METADATA} are allowed.", *field
        )
    return tuple(parse_mapped_value(part, f"metadata.{name}", *field, name) for name, part in sorted(raw.items()))
