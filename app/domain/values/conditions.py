"""Conditions on single values, such as a metadata path of an event or a field of a pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from app.domain.errors import Code, InvalidInput, Refused

from .decimals import parse_decimal
from .instants import parse_instant
from .text import parse_text

MAX_LISTED = 100
"""Values in the list of an IN or NOT_IN condition."""


class Operator(StrEnum):
    """Comparison of a field's value with the given value.

    Numbers and texts that hold numbers compare as exact decimals, instants by time, other texts by code point. For an
    absent value, only NE, NOT_IN and NOT_EXISTS are true.
    """

    EQ = "EQ"
    NE = "NE"
    GT = "GT"
    GTE = "GTE"
    LT = "LT"
    LTE = "LTE"
    IN = "IN"
    NOT_IN = "NOT_IN"
    CONTAINS = "CONTAINS"
    EXISTS = "EXISTS"
    NOT_EXISTS = "NOT_EXISTS"


ORDERED = frozenset({Operator.GT, Operator.GTE, Operator.LT, Operator.LTE})
VALUELESS = frozenset({Operator.EXISTS, Operator.NOT_EXISTS})


@dataclass(frozen=True, slots=True)
class Condition:
    """Comparison `path operator value`.

    The path is dotted, for example "store.city". The value is a JSON scalar; for IN and NOT_IN it is a tuple of
    scalars.
    """

    path: str
    operator: Operator
    value: object = None

    def holds(self, document: Mapping[str, object]) -> bool:
        """Return whether the condition is true for the value at `path`.

        For an absent value, only NE, NOT_IN and NOT_EXISTS are true.
        """
        return compare(dig(document, self.path), self.operator, self.value)

    def to_dict(self) -> dict[str, object]:
        """Return the condition as the store and the API write it."""
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        return {"path": self.path, "operator": self.operator.value, "value": value}


def parse_condition(raw: object, *field: str, path_name: str = "path") -> Condition:
    """Return a condition from {path, operator, value}. Raises InvalidInput with the path of the invalid part."""
    if not isinstance(raw, Mapping):
        raise InvalidInput(Code.INVALID, "Give an object with path, operator and value.", *field)
    path = parse_text(raw.get(path_name), *field, path_name, max_length=200)
    operator = parse_operator(raw.get("operator", "EQ"), *field, "operator")
    return Condition(path, operator, parse_operand(raw.get("value"), operator, *field, "value"))


def parse_operator(raw: object, *field: str) -> Operator:
    """Return the operator of that name. Raises InvalidInput: UNKNOWN."""
    operator = Operator.__members__.get(str(raw))
    if operator is None:
        raise InvalidInput(Code.UNKNOWN, f"Give one of {', '.join(Operator)}.", *field)
    return operator


def parse_operand(raw: object, operator: Operator, *field: str) -> object:
    """Return the checked right-hand side of the operator: None, a scalar, or a tuple of scalars.

    Raises InvalidInput.
    """
    if operator in VALUELESS:
        return None
    if operator in (Operator.IN, Operator.NOT_IN):
        if not isinstance(raw, Sequence) or isinstance(raw, str) or not raw:
            raise InvalidInput(Code.INVALID, "Give a list of values.", *field)
        if len(raw) > MAX_LISTED:
            raise InvalidInput(Code.TOO_MANY, f"Give at most {MAX_LISTED} values.", *field)
        return tuple(_parse_scalar(item, *field, str(index)) for index, item in enumerate(raw))
    if raw is None:
        raise InvalidInput(Code.REQUIRED, f"Give the value that {operator} compares with.", *field)
    value = _parse_scalar(raw, *field)
    if operator in ORDERED and isinstance(value, bool):
        raise InvalidInput(
            Code.INVALID, f"true and false have no order; give {operator} a number, text or instant.", *field
        )
    if operator is Operator.CONTAINS and not isinstance(value, str):
        raise InvalidInput(Code.INVALID, "Give CONTAINS a text.", *field)
    return value


def dig(document: object, path: str) -> object:
    """Return the value at a dotted path, or None."""
    for part in path.split("."):
        if not isinstance(document, Mapping):
            return None
        document = document.get(part)
    return document


def number_of(value: object) -> Decimal | None:
    """Return the decimal of a JSON number or of a text that holds a number; None for other values."""
    if value is None or isinstance(value, bool):
        return None
    try:
        return parse_decimal(value)
    except Refused:
        return None


def compare(left: object, operator: Operator, right: object) -> bool:
    """Return whether `left operator right` is true.

    Numbers, and texts that hold numbers, compare as exact decimals. Instants compare by time. Other texts compare by
    code point; EQ compares two texts as texts, even if both hold numbers.
    """
    match operator:
        case Operator.EXISTS:
            return left is not None
        case Operator.NOT_EXISTS:
            return left is None
        case Operator.EQ:
            return _is_equal(left, right)
        case Operator.NE:
            return not _is_equal(left, right)
        case Operator.IN:
            return isinstance(right, tuple) and any(_is_equal(left, item) for item in right)
        case Operator.NOT_IN:
            return isinstance(right, tuple) and not any(_is_equal(left, item) for item in right)
        case Operator.CONTAINS:
            if isinstance(left, str):
                return str(right) in left
            return isinstance(left, (list, tuple)) and right in left
    pair = _comparable_pair(left, right)
    if pair is None:
        return False
    a, b = pair
    match operator:
        case Operator.GT:
            return bool(a > b)  # type: ignore[operator]
        case Operator.GTE:
            return bool(a >= b)  # type: ignore[operator]
        case Operator.LT:
            return bool(a < b)  # type: ignore[operator]
        case _:
            return bool(a <= b)  # type: ignore[operator]


def _is_equal(left: object, right: object) -> bool:
    if isinstance(left, bool) or isinstance(right, bool) or left is None or right is None:
        return left is right
    if isinstance(left, str) and isinstance(right, str):
        return left == right
    pair = _comparable_pair(left, right)
    return pair is not None and pair[0] == pair[1]


def _comparable_pair(left: object, right: object) -> tuple[object, object] | None:
    """Return both values as instants, decimals or texts; None if they have no common order."""
    if isinstance(left, datetime):
        try:
            return left, parse_instant(right)
        except Refused:
            return None
    a, b = number_of(left), number_of(right)
    if a is not None and b is not None:
        return a, b
    return (left, right) if isinstance(left, str) and isinstance(right, str) else None


def _parse_scalar(raw: object, *field: str) -> object:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str):
        if any("\ud800" <= c <= "\udfff" for c in raw):
            raise InvalidInput(Code.INVALID, "Remove unpaired surrogates from this text.", *field)
        return raw
    if isinstance(raw, (int, float, Decimal)):
        value = parse_decimal(raw, *field)
        return int(value) if value == value.to_integral_value() else format(value, "f")
    raise InvalidInput(Code.INVALID, "Give a text, a number, true or false.", *field)
