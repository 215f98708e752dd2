"""The values of a mapping: where one field of an event comes from in a foreign body, and how it is brought into form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from app.domain.errors import Code, InvalidInput
from app.domain.values.decimals import EXACT, parse_decimal, plain
from app.domain.values.instants import EARLIEST, LATEST, from_ms, to_ms
from app.domain.values.text import MAX_JSON_DEPTH, parse_text

from .paths import HEADERS, Path, Scope, parse_path

DECIMALS = frozenset({"amount", "points"})
CAPITALS = frozenset({"currency", "category"})
MAX_SCALE = 6
MAX_ENTRIES = 200
MAX_PATHS = 6
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_OPTIONS = frozenset({"path", "value", "template", "map", "default", "scale", "format"})


class InstantFormat(StrEnum):
    """How an instant is written."""

    RFC3339 = "RFC3339"
    UNIX_SECONDS = "UNIX_SECONDS"
    UNIX_MILLISECONDS = "UNIX_MILLISECONDS"


UNITS_A_SECOND = {InstantFormat.UNIX_SECONDS: 1, InstantFormat.UNIX_MILLISECONDS: 1_000}


@dataclass(frozen=True, slots=True)
class MappedValue:
    """Where a value comes from: the first of `paths` that has one, a `constant`, or a `template` of texts and paths.

    `entries` translates it, `default` stands in for a value that is absent or has no entry, `scale` is how many of the
    last digits of a number are its fraction, and `format` how an instant is written.
    """

    name: str
    paths: tuple[Path, ...] = ()
    constant: object = None
    template: tuple[str | Path, ...] = ()
    entries: Mapping[str, object] | None = None
    default: object = None
    scale: int = 0
    format: InstantFormat = InstantFormat.RFC3339

    def of(self, scope: Scope) -> object:
        """The value, in the form that the field takes; None for none. Raises InvalidInput at the field's name."""
        found = self._found(scope)
        if found is not None and self.entries is not None:
            text = format_value(found, self.name)
            if text not in self.entries and self.default is None:
                raise InvalidInput(Code.UNKNOWN, f"The map has no entry for '{text[:100]}', and no default.", self.name)
            found = self.entries.get(text)
        if found is None:
            found = self.default
        return None if found is None else self._formed(found)

    @property
    def sources(self) -> tuple[Path, ...]:
        """Every path that it reads."""
        return (*self.paths, *(part for part in self.template if isinstance(part, Path)))

    def _found(self, scope: Scope) -> object:
        if self.template:
            parts = [part.of(scope) if isinstance(part, Path) else part for part in self.template]
            return None if None in parts else "".join(format_value(part, self.name) for part in parts)
        if not self.paths:
            return self.constant
        return next((value for path in self.paths if (value := path.of(scope)) is not None), None)

    def _formed(self, value: object) -> object:
        if self.name.startswith("metadata."):
            return plain_json(value)
        if self.name in DECIMALS:
            number = parse_decimal(value, self.name)
            return number.scaleb(-self.scale, context=EXACT) if self.scale else number
        if self.name.endswith("At"):
            units = UNITS_A_SECOND.get(self.format)
            return value if units is None else _instant(value, units, self.name)
        if self.name.endswith("Days") and isinstance(value, int):
            return value
        text = format_value(value, self.name)
        return text.upper() if self.name in CAPITALS else text


def parse_mapped_value(raw: object, name: str, *at: str) -> MappedValue:
    """Where the field `name` comes from: a text is a path; an object has one of path, value and template, and options.

    Raises Refused with the path of the part at fault.
    """
    if isinstance(raw, str):
        return MappedValue(name, _paths(raw, name, *at))
    if not isinstance(raw, Mapping):
        raise InvalidInput(Code.INVALID, 'Give a path, or an object with one of "path", "value" and "template".', *at)
    if unknown := [key for key in raw if key not in _OPTIONS]:
        raise InvalidInput(Code.UNKNOWN, f"One of {', '.join(sorted(_OPTIONS))}.", *at, unknown[0])
    if sum(raw.get(key) is not None for key in ("path", "value", "template")) != 1:
        raise InvalidInput(Code.REQUIRED, 'Give exactly one of "path", "value" and "template".', *at)
    paths = _paths(raw["path"], name, *at, "path") if raw.get("path") is not None else ()
    template = _template(raw["template"], name, *at, "template") if raw.get("template") is not None else ()
    return MappedValue(
        name, paths, _constant(raw.get("value"), *at, "value"), template, _entries(raw.get("map"), *at, "map"),
        _constant(raw.get("default"), *at, "default"), _scale(raw.get("scale"), name, *at, "scale"),
        _format(raw.get("format"), name, *at, "format"),
    )  # fmt: skip


def format_value(value: object, *at: str) -> str:
    """The text of a text, a number, true or false. Raises InvalidInput for lists and objects."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Decimal() | float():
            return plain(parse_decimal(value, *at))
    raise InvalidInput(Code.INVALID, "A list or an object stands there, not a single value.", *at)


def plain_json(value: Any, depth: int = MAX_JSON_DEPTH + 1) -> Any:
    """The JSON value with ordinary floats for decimals, as metadata keeps them; deeper than is accepted stays as it is."""
    if isinstance(value, Decimal):
        return float(value)
    if depth and isinstance(value, Mapping):
        return {key: plain_json(item, depth - 1) for key, item in value.items()}
    if depth and isinstance(value, list):
        return [plain_json(item, depth - 1) for item in value]
    return value


def _instant(value: object, units: int, name: str) -> datetime:
    number = parse_decimal(value, name)
    ms = int(number * 1_000 / units)
    if not to_ms(EARLIEST) <= ms < to_ms(LATEST):
        raise InvalidInput(Code.OUT_OF_RANGE, "The year must lie between 1900 and 2199; is it the right format?", name)
    return from_ms(ms)


def _paths(raw: object, name: str, *at: str) -> tuple[Path, ...]:
    if isinstance(raw, list):
        if not 1 <= len(raw) <= MAX_PATHS:
            raise InvalidInput(
                Code.TOO_MANY, f"From 1 to {MAX_PATHS} paths, of which the first with a value counts.", *at
            )
        return tuple(_signed(parse_path(each, *at, str(index)), name, *at) for index, each in enumerate(raw))
    return (_signed(parse_path(raw, *at), name, *at),)


def _signed(path: Path, name: str, *at: str) -> Path:
    if path.root == HEADERS and name == "externalId":
        # Signatures cover the body alone: whoever repeats it with another header would make another event of it.
        raise InvalidInput(Code.UNSUPPORTED, "Headers are not signed; take the identity from the body.", *at)
    return path


def _template(raw: object, name: str, *at: str) -> tuple[str | Path, ...]:
    text = parse_text(raw, *at)
    pieces = _PLACEHOLDER.split(text)
    if any(sign in piece for piece in pieces[::2] for sign in "{}") or len(pieces) == 1:
        raise InvalidInput(Code.INVALID, 'Name paths in braces, for example "order-{id}".', *at)
    parts: list[str | Path] = []
    for place, piece in enumerate(pieces):
        if place % 2:
            parts.append(_signed(parse_path(piece, *at), name, *at))
        elif piece:
            parts.append(piece)
    return tuple(parts)


def _constant(raw: object, *at: str) -> object:
    if raw is not None:
        format_value(raw, *at)
    return raw


def _entries(raw: object, *at: str) -> Mapping[str, object] | None:
    if raw is None:
        return None
    if not isinstance(raw, Mapping) or not raw:
        raise InvalidInput(Code.INVALID, 'Give an object such as {"order.paid": "purchase"}.', *at)
    if len(raw) > MAX_ENTRIES:
        raise InvalidInput(Code.TOO_MANY, f"At most {MAX_ENTRIES} entries.", *at)
    for key, value in raw.items():
        format_value(value, *at, key)
    return raw


def _scale(raw: object, name: str, *at: str) -> int:
    if raw is None:
        return 0
    if name not in DECIMALS:
        raise InvalidInput(Code.UNSUPPORTED, f"Only {' and '.join(sorted(DECIMALS))} have a scale.", *at)
    if isinstance(raw, bool) or not isinstance(raw, int) or not 0 <= raw <= MAX_SCALE:
        raise InvalidInput(Code.OUT_OF_RANGE, f"From 0 to {MAX_SCALE} digits; 2 where amounts are in cents.", *at)
    return raw


def _format(raw: object, name: str, *at: str) -> InstantFormat:
    if raw is None:
        return InstantFormat.RFC3339
    if not name.endswith("At"):
        raise InvalidInput(Code.UNSUPPORTED, "Only instants have a format.", *at)
    try:
        return InstantFormat(str(raw))
    except ValueError:
        raise InvalidInput(Code.UNKNOWN, f"One of {', '.join(InstantFormat)}.", *at) from None
