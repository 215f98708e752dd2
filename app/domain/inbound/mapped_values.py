"""Mapped values: the rule by which a mapping finds the value of one event field in a message, and converts it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, Literal

from app.domain.errors import Code, InvalidInput
from app.domain.values.currencies import minor_units, parse_currency
from app.domain.values.decimals import EXACT, MAX_INTEGER_DIGITS, WIDE, WIDE_ROUNDED, parse_decimal, plain, read_number
from app.domain.values.instants import EARLIEST, LATEST, from_ms, to_ms
from app.domain.values.json_values import keep_numbers
from app.domain.values.text import MAX_NAME, parse_text

from .paths import HEADERS, Path, Scope, parse_path

DECIMALS = frozenset({"amount", "points"})
CAPITALS = frozenset({"currency", "category"})
"""Fields whose values are converted to upper case."""
METADATA = "metadata."
_LONG_FIELDS = {"oldValue": 2_000, "newValue": 2_000}
"""Characters of the fields that may be longer than a name."""
MAX_SCALE = 6
MAX_ENTRIES = 200
"""Entries of a `map`."""
MAX_PATHS = 6
"""Paths of one value, of which the first with a value counts."""
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
BY_CURRENCY: Final = "currency"
"""The number of decimal places that says: as many as the currency of the item has."""
Places = int | Literal["currency"]
_OPTIONS = frozenset({"path", "value", "template", "map", "default", "scale", "round", "format"})


class InstantFormat(StrEnum):
    """How a message writes an instant."""

    RFC3339 = "RFC3339"
    UNIX_SECONDS = "UNIX_SECONDS"
    UNIX_MILLISECONDS = "UNIX_MILLISECONDS"


UNITS_PER_SECOND = {InstantFormat.UNIX_SECONDS: 1, InstantFormat.UNIX_MILLISECONDS: 1_000}


@dataclass(frozen=True, slots=True)
class MappedValue:
    """The source of one field: the first of `paths` with a value, a `constant`, or a `template` of texts and paths.

    `entries` translates the value. `default` replaces a value that is absent or has no entry. `scale` is the number of
    decimal places of an integer: 2930 with scale 2 is 29.30. A decimal is rounded half-even to `places`, unless that is
    None. `format` is the format of an instant.
    """

    name: str
    paths: tuple[Path, ...] = ()
    constant: object = None
    template: tuple[str | Path, ...] = ()
    entries: Mapping[str, object] | None = None
    default: object = None
    scale: Places = 0
    places: Places | None = None
    format: InstantFormat = InstantFormat.RFC3339

    def resolve(self, scope: Scope, currency: object = None) -> object:
        """Return the value in the form that the field takes, or None. Raises InvalidInput at the name of the field.

        `currency` is the currency of the item. It decides how many decimal places an amount has, if the mapping says so.
        """
        found = self.find(scope, _LONG_FIELDS.get(self.name, MAX_NAME))
        return None if found is None else self.convert(found, currency)

    def find(self, scope: Scope, max_characters: int) -> object:
        """Return the value as the message has it, or None. A template makes a text of at most `max_characters`."""
        found = self._find(scope, max_characters)
        if found is not None and self.entries is not None:
            text = format_value(found, self.name)
            if text not in self.entries and self.default is None:
                message = f"The map has no entry for '{text[:100]}' and no default; add one of them to the mapping."
                raise InvalidInput(Code.UNKNOWN, message, self.name)
            found = self.entries.get(text)
        return self.default if found is None else found

    def convert(self, value: object, currency: object = None) -> object:
        """Return a value that was found in the form that the field takes. Raises InvalidInput."""
        if self.name.startswith(METADATA):
            return keep_numbers(value)
        if self.name in DECIMALS:
            return self._convert_decimal(value, currency)
        if self.name.endswith("At"):
            units = UNITS_PER_SECOND.get(self.format)
            return value if units is None else _parse_unix_time(value, units, self.name)
        if self.name.endswith("Days") and isinstance(value, int):
            return value
        text = format_value(value, self.name)
        if self.name not in CAPITALS:
            return text
        if len(text) > MAX_NAME:
            raise _too_long(MAX_NAME, self.name)
        return text.upper()

    @property
    def needs_currency(self) -> bool:
        """Whether the currency of the item decides how many decimal places the value has."""
        return BY_CURRENCY in (self.scale, self.places)

    @property
    def sources(self) -> tuple[Path, ...]:
        """All paths of the value."""
        return (*self.paths, *(part for part in self.template if isinstance(part, Path)))

    def _find(self, scope: Scope, max_characters: int) -> object:
        if not self.template:
            if not self.paths:
                return self.constant
            return next((value for path in self.paths if (value := path.resolve(scope)) is not None), None)
        parts: list[str] = []
        size = 0
        for part in self.template:
            value = part.resolve(scope) if isinstance(part, Path) else part
            if value is None:
                return None
            parts.append(format_value(value, self.name))
            size += len(parts[-1])
            if size > max_characters:
                # Each of many placeholders may be the whole body, so do not join them first.
                raise _too_long(max_characters, self.name)
        return "".join(parts)

    def _convert_decimal(self, value: object, currency: object) -> Decimal:
        scale, places = self._count_places(self.scale, currency), self._count_places(self.places, currency)
        number = read_number(value) if places is not None else None
        if places is None or number is None or number.adjusted() - (scale or 0) >= MAX_INTEGER_DIGITS:
            number = parse_decimal(value, self.name)
        if scale:
            number = number.scaleb(-scale, context=EXACT if places is None else WIDE)
        if places is None:
            return number
        rounded = number.quantize(Decimal(1).scaleb(-places), context=WIDE_ROUNDED)
        return rounded if rounded else abs(rounded)

    def _count_places(self, places: Places | None, currency: object) -> int | None:
        """Return the number of decimal places that an option names. Raises InvalidInput."""
        if places != BY_CURRENCY:
            return places
        if currency is None:
            message = "The item has no currency, which decides about the decimal places; give the currency a default."
            raise InvalidInput(Code.REQUIRED, message, self.name)
        found = minor_units(parse_currency(currency, "currency"))
        if found is None:
            message = f"ISO 4217 defines no decimal places for {currency}; give their number in the mapping."
            raise InvalidInput(Code.UNSUPPORTED, message, self.name)
        return found


def parse_mapped_value(raw: object, name: str, *at: str) -> MappedValue:
    """Return the source of the field `name`, checked.

    A text is a path. An object has exactly one of `path`, `value` and `template`, and options. Raises Refused with the
    path of the invalid part.
    """
    if isinstance(raw, str):
        return MappedValue(name, _parse_paths(raw, name, *at))
    if not isinstance(raw, Mapping):
        raise InvalidInput(Code.INVALID, 'Give a path, or an object with one of "path", "value" and "template".', *at)
    if unknown := [key for key in raw if key not in _OPTIONS]:
        raise InvalidInput(Code.UNKNOWN, f"No such option; use one of {', '.join(sorted(_OPTIONS))}.", *at, unknown[0])
    if sum(raw.get(key) is not None for key in ("path", "value", "template")) != 1:
        raise InvalidInput(Code.REQUIRED, 'Give exactly one of "path", "value" and "template".', *at)
    paths = _parse_paths(raw["path"], name, *at, "path") if raw.get("path") is not None else ()
    template = _parse_template(raw["template"], name, *at, "template") if raw.get("template") is not None else ()
    return MappedValue(
        name=name,
        paths=paths,
        constant=_parse_constant(raw.get("value"), *at, "value"),
        template=template,
        entries=_parse_entries(raw.get("map"), *at, "map"),
        default=_parse_constant(raw.get("default"), *at, "default"),
        scale=_parse_places(raw.get("scale"), name, *at, "scale") or 0,
        places=_parse_places(raw.get("round"), name, *at, "round"),
        format=_parse_format(raw.get("format"), name, *at, "format"),
    )


def format_value(value: object, *at: str) -> str:
    """Return a text, a number, true or false as a text. Raises InvalidInput for lists and objects."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Decimal() | float():
            number = read_number(value)
            return plain(parse_decimal(value, *at) if number is None else number)
    raise InvalidInput(Code.INVALID, "The value is a list or an object; give the path of a single value.", *at)


def _parse_unix_time(value: object, units: int, name: str) -> datetime:
    number = parse_decimal(value, name)
    ms = int(number * 1_000 / units)
    if not to_ms(EARLIEST) <= ms < to_ms(LATEST):
        raise InvalidInput(
            Code.OUT_OF_RANGE, "The year must lie between 1900 and 2199; check the format of the mapping.", name
        )
    return from_ms(ms)


def _parse_paths(raw: object, name: str, *at: str) -> tuple[Path, ...]:
    if isinstance(raw, list):
        if not 1 <= len(raw) <= MAX_PATHS:
            raise InvalidInput(Code.TOO_MANY, f"Give 1 to {MAX_PATHS} paths; the first one with a value counts.", *at)
        return tuple(_check_signed(parse_path(each, *at, str(index)), name, *at) for index, each in enumerate(raw))
    return (_check_signed(parse_path(raw, *at), name, *at),)


def _check_signed(path: Path, name: str, *at: str) -> Path:
    """Return the path. Raises InvalidInput if a header would give the external id."""
    if path.root == HEADERS and name == "externalId":
        # Signatures cover only the body. A repeat of the body with another header would record the event twice.
        raise InvalidInput(Code.UNSUPPORTED, "Headers are not signed; take the external id from the body.", *at)
    return path


def _parse_template(raw: object, name: str, *at: str) -> tuple[str | Path, ...]:
    text = parse_text(raw, *at)
    pieces = _PLACEHOLDER.split(text)
    if any(sign in piece for piece in pieces[::2] for sign in "{}") or len(pieces) == 1:
        raise InvalidInput(Code.INVALID, 'A template has at least one path in braces, for example "order-{id}".', *at)
    parts: list[str | Path] = []
    for number, piece in enumerate(pieces):
        # re.split puts the paths, without their braces, at odd positions.
        if number % 2:
            parts.append(_check_signed(parse_path(piece, *at), name, *at))
        elif piece:
            parts.append(piece)
    return tuple(parts)


def _parse_constant(raw: object, *at: str) -> object:
    if raw is not None:
        format_value(raw, *at)
    return raw


def _parse_entries(raw: object, *at: str) -> Mapping[str, object] | None:
    if raw is None:
        return None
    if not isinstance(raw, Mapping) or not raw:
        raise InvalidInput(Code.INVALID, 'Give an object such as {"order.paid": "purchase"}.', *at)
    if len(raw) > MAX_ENTRIES:
        raise InvalidInput(Code.TOO_MANY, f"The map has {len(raw)} entries; at most {MAX_ENTRIES} are allowed.", *at)
    for key, value in raw.items():
        format_value(value, *at, key)
    return raw


def _parse_places(raw: object, name: str, *at: str) -> Places | None:
    if raw is None:
        return None
    if name not in DECIMALS:
        raise InvalidInput(
            Code.UNSUPPORTED, f"Only {' and '.join(sorted(DECIMALS))} have decimal places; leave it out.", *at
        )
    if raw == BY_CURRENCY and name == "amount":
        return BY_CURRENCY
    if isinstance(raw, bool) or not isinstance(raw, int) or not 0 <= raw <= MAX_SCALE:
        message = f"Give 0 to {MAX_SCALE} decimal places, for example 2 if amounts are in cents."
        raise InvalidInput(
            Code.OUT_OF_RANGE, f'{message} For an amount, "{BY_CURRENCY}" means as many as its currency has.', *at
        )
    return raw


def _parse_format(raw: object, name: str, *at: str) -> InstantFormat:
    if raw is None:
        return InstantFormat.RFC3339
    if not name.endswith("At"):
        raise InvalidInput(Code.UNSUPPORTED, "Only instants have a format; leave it out.", *at)
    try:
        return InstantFormat(str(raw))
    except ValueError:
        raise InvalidInput(Code.UNKNOWN, f"No such format; use one of {', '.join(InstantFormat)}.", *at) from None


def _too_long(max_characters: int, *at: str) -> InvalidInput:
    message = f"The mapping makes a text of more than {max_characters:,} characters; map a shorter value."
    return InvalidInput(Code.TOO_LONG, message, *at)
