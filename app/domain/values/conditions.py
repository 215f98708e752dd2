"""Conditions on single values: a metadata path of an event, a field of a pass."""

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


class Operator(StrEnum):
    """How a value is compared."""

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
    """`path operator value`. The path is dotted ("store.city"); the value plain JSON, a tuple for IN and NOT_IN."""

    path: str
    operator: Operator
    value: object = None

    def holds(self, document: Mapping[str, object]) -> bool:
        """Whether the condition is true of the value at `path`; of an absent value only NE, NOT_IN, NOT_EXISTS are."""
        return compare(dig(document, self.path), self.operator, self.value)

    def to_dict(self) -> dict[str, object]:
        """The condition as it is stored and answered."""
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        return {"path": self.path, "operator": self.operator.value, "value": value}


def parse_condition(raw: object, *field: str, path_name: str = "path") -> Condition:
    """A condition from {path, operator, value}. Raises InvalidInput with the path of the part at fault."""
    if not isinstance(raw, Mapping):
        raise InvalidInput(Code.INVALID, "Give an object with path, operator and value.", *field)
    path = parse_text(raw.get(path_name), *field, path_name, most=200)
    operator = parse_operator(raw.get("operator", "EQ"), *field, "operator")
    return Condition(path, operator, parse_operand(raw.get("value"), operator, *field, "value"))


def parse_operator(raw: object, *field: str) -> Operator:
    """The operator of that name. Raises InvalidInput: UNKNOWN."""
    operator = Operator.__members__.get(str(raw))
    if operator is None:
        raise InvalidInput(Code.UNKNOWN, f"One of {', '.join(Operator)}.", *field)
    return operator


def parse_operand(raw: object, operator: Operator, *field: str) -> object:
    """The right-hand side that the operator takes. Raises InvalidInput."""
    if operator in VALUELESS:
        return None
    if operator in (Operator.IN, Operator.NOT_IN):
        if not isinstance(raw, Sequence) or isinstance(raw, str) or not raw:
            raise InvalidInput(Code.INVALID, "Give a list of values.", *field)
        if len(raw) > MAX_LISTED:
            raise InvalidInput(Code.TOO_MANY, f"At most {MAX_LISTED} values.", *field)
        return tuple(_scalar(item, *field, str(index)) for index, item in enumerate(raw))
    if raw is None:
        raise InvalidInput(Code.REQUIRED, "This operator compares with a value.", *field)
    value = _scalar(raw, *field)
    if operator in ORDERED and isinstance(value, bool):
        raise InvalidInput(Code.INVALID, "true and false have no order.", *field)
    if operator is Operator.CONTAINS and not isinstance(value, str):
        raise InvalidInput(Code.INVALID, "CONTAINS looks for a text.", *field)
    return value


def dig(document: object, path: str) -> object:
    """The value at a dotted path, or None."""
    for part in path.split("."):
        if not isinstance(document, Mapping):
            return None
        document = document.get(part)
    return document


def number_of(value: object) -> Decimal | None:
    """The decimal that a JSON value writes, or None: numbers and numeric texts count, true and false do not."""
    if value is None or isinstance(value, bool):
        return None
    try:
        return parse_decimal(value)
    except Refused:
        return None


def compare(left: object, operator: Operator, right: object) -> bool:
    """Whether `left operator right`: exactly for numbers, by instant for instants, by code point for texts."""
    match operator:
        case Operator.EXISTS:
            return left is not None
        case Operator.NOT_EXISTS:
            return left is None
        case Operator.EQ:
            return _same(left, right)
        case Operator.NE:
            return not _same(left, right)
        case Operator.IN:
            return isinstance(right, tuple) and any(_same(left, item) for item in right)
        case Operator.NOT_IN:
            return isinstance(right, tuple) and not any(_same(left, item) for item in right)
        case Operator.CONTAINS:
            if isinstance(left, str):
                return str(right) in left
            return isinstance(left, (list, tuple)) and right in left
    pair = _ordered_pair(left, right)
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


def _same(left: object, right: object) -> bool:
    if isinstance(left, bool) or isinstance(right, bool) or left is None or right is None:
        return left is right
    if isinstance(left, str) and isinstance(right, str):
        return left == right
    pair = _ordered_pair(left, right)
    return pair is not None and pair[0] == pair[1]


def _ordered_pair(left: object, right: object) -> tuple[object, object] | None:
    if isinstance(left, datetime):
        try:
            return left, parse_instant(right)
        except Refused:
            return None
    a, b = number_of(left), number_of(right)
    if a is not None and b is not None:
        return a, b
    return (left, right) if isinstance(left, str) and isinstance(right, str) else None


def _scalar(raw: object, *field: str) -> object:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str):
        if any("\ud800" <= c <= "\udfff" for c in raw):
            raise InvalidInput(Code.INVALID, "Unpaired surrogates are not text.", *field)
        return raw
    if isinstance(raw, (int, float, Decimal)):
        value = parse_decimal(raw, *field)
        return int(value) if value == value.to_integral_value() else format(value, "f")
    raise InvalidInput(Code.INVALID, "Give a text, a number, true or false.", *field)
