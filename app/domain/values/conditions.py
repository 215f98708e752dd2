"""Conditions on single values, such as a metadata path of an event or a field of a pass.

This module defines what a condition means, for lists, sums, criteria and mappings alike. `app/store/mongo/conditions.py`
writes the same meaning as a filter of MongoDB.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from app.domain.errors import Code, InvalidInput

from .json_values import keep_numbers
from .path_values import PathValues
from .paths import Steps, iter_values, split_path
from .text import MAX_JSON_DEPTH, MAX_JSON_INTEGER, parse_text

MEANING = 2
"""Version of what a condition means. Definitions are stored with it, and those of version 1 are stored anew."""
MAX_LISTED = 100
"""Values in the list of an IN or NOT_IN condition."""
MAX_OPERAND_CHARACTERS = 1_000
"""Characters of a text that a condition compares with."""
MAX_PATTERN_BYTES = 1_000
"""Size of the text of CONTAINS as a regular expression. The embedded servers accept no longer expressions."""
PATTERN_CHARACTERS = frozenset("\\.+*?()|[]{}^$")
"""Characters that have a meaning in regular expressions, and are escaped in them."""


class Operator(StrEnum):
    """Comparison of a field's value with the given value.

    Values compare within their kind: numbers with numbers, texts with texts by code point, and true or false with the
    same. Where the value is a list, the condition holds if it holds for one of the elements. NE, NOT_IN and NOT_EXISTS
    hold exactly if EQ, IN and EXISTS do not. A null counts as absent.
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
    WITHIN_LAST = "WITHIN_LAST"
    BEFORE = "BEFORE"
    AFTER = "AFTER"


ORDERED = frozenset({Operator.GT, Operator.GTE, Operator.LT, Operator.LTE})
VALUELESS = frozenset({Operator.EXISTS, Operator.NOT_EXISTS})
RELATIVE = (Operator.WITHIN_LAST, Operator.BEFORE, Operator.AFTER)
"""Operators that compare an instant of the pass with now. Conditions have none of them."""
CONDITION_OPERATORS = tuple(each for each in Operator if each not in RELATIVE)
POSITIVE: Mapping[Operator, Operator] = {
    Operator.NE: Operator.EQ,
    Operator.NOT_IN: Operator.IN,
    Operator.NOT_EXISTS: Operator.EXISTS,
}
"""The operator that each negative one is the opposite of."""
Test = Callable[[object], bool]
"""Whether one value of a path meets a condition with a positive operator."""
PathTest = Callable[[PathValues], bool]
"""Whether one of the values of a path meets a condition with a positive operator."""
MAX_SINGLE_TESTS = 4
"""Values up to which testing each of them is faster than preparing all of them for many conditions."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Comparison `path operator value`.

    The path is dotted, for example "store.city". The value is a text, a number or a boolean; for IN and NOT_IN it is a
    tuple of them.
    """

    path: str
    operator: Operator
    value: object = None
    steps: Steps = field(init=False, repr=False, compare=False)
    _test: Test = field(init=False, repr=False, compare=False)
    _path_test: PathTest = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Read the path and the value once, instead of for each event."""
        object.__setattr__(self, "steps", split_path(self.path))
        object.__setattr__(self, "_test", make_test(self.operator, self.value))
        object.__setattr__(self, "_path_test", make_path_test(self.operator, self.value))

    def holds(self, document: object) -> bool:
        """Return whether the condition is true for a JSON value, whose keys have no points (see `split_keys`)."""
        return self.matches_values(iter_values(document, self.steps))

    def matches_values(self, values: Iterable[object]) -> bool:
        """Return whether the condition is true for these values of its path."""
        return any(map(self._test, values)) != (self.operator in POSITIVE)

    def holds_for(self, found: PathValues) -> bool:
        """Return whether the condition is true for the values of its path. Long lists cost little more than short ones."""
        test = any(map(self._test, found.values)) if len(found.values) <= MAX_SINGLE_TESTS else self._path_test(found)
        return test != (self.operator in POSITIVE)

    def to_dict(self) -> dict[str, object]:
        """Return the condition as the store and the API write it."""
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        return {"path": self.path, "operator": self.operator.value, "value": value}


def make_test(operator: Operator, operand: object) -> Test:
    """Return the test of one value for the operator, or for the operator that it is the opposite of.

    The test takes JSON values except null, and Decimals.
    """
    operator = POSITIVE.get(operator, operator)
    if operator is Operator.EXISTS:
        return lambda _: True
    if operator is Operator.CONTAINS:
        part = str(operand)
        return lambda value: isinstance(value, str) and part in value
    if operator in ORDERED:
        return _ordered_test(operator, operand)
    operands = operand if isinstance(operand, tuple) else (operand,)
    # True equals 1 in Python, so booleans need a set of their own.
    booleans = frozenset(each for each in operands if isinstance(each, bool))
    others = frozenset(plain_value(each) for each in operands if not isinstance(each, bool))

    def is_listed(value: object) -> bool:
        if isinstance(value, bool):
            return value in booleans
        return not isinstance(value, dict) and plain_value(value) in others

    return is_listed


def _ordered_test(operator: Operator, operand: object) -> Test:
    bound = plain_value(operand)
    if isinstance(bound, bool) or not isinstance(bound, (str, int, float)):
        return lambda _: False
    kinds = str if isinstance(bound, str) else (int, float)
    compare = COMPARISONS[operator]

    def is_beyond(value: object) -> bool:
        value = plain_value(value)
        return isinstance(value, kinds) and not isinstance(value, bool) and compare(value, bound)

    return is_beyond


def make_path_test(operator: Operator, operand: object) -> PathTest:
    """Return the test of all values of a path. It has the result of `make_test` for any of them."""
    operator = POSITIVE.get(operator, operator)
    if operator is Operator.EXISTS:
        return lambda found: bool(found.values)
    if operator is Operator.CONTAINS:
        part = str(operand)
        return lambda found: found.text_bounds is not None and part in found.joined_texts
    if operator in ORDERED:
        bound, compare = plain_value(operand), COMPARISONS[operator]
        # A list has a value beyond the bound exactly if its last one, or its first one, lies beyond it.
        end = 1 if operator in (Operator.GT, Operator.GTE) else 0

        def is_beyond(found: PathValues) -> bool:
            ends = found.text_bounds if isinstance(bound, str) else found.number_bounds
            return ends is not None and compare(ends[end], bound)

        return is_beyond
    operands = operand if isinstance(operand, tuple) else (operand,)
    booleans = frozenset(each for each in operands if isinstance(each, bool))
    others = frozenset(plain_value(each) for each in operands if not isinstance(each, bool))
    return lambda found: not (found.plain.isdisjoint(others) and found.booleans.isdisjoint(booleans))


COMPARISONS: Mapping[Operator, Callable[[object, object], bool]] = {
    Operator.GT: lambda a, b: a > b,  # type: ignore[operator]
    Operator.GTE: lambda a, b: a >= b,  # type: ignore[operator]
    Operator.LT: lambda a, b: a < b,  # type: ignore[operator]
    Operator.LTE: lambda a, b: a <= b,  # type: ignore[operator]
}


def plain_value(value: object) -> object:
    """Return a scalar of JSON as metadata keeps it: decimals as floats, and numbers that would lose digits as texts.

    A float stands for the shortest decimal that names it, as JSON shows it. Floats have the same order as these decimals,
    so a comparison of floats is exact.
    """
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return keep_numbers(value)
    return value


def parse_condition(raw: object, *field: str, is_stored: bool = False) -> Condition:
    """Return a condition from {path, operator, value}. Raises InvalidInput with the path of the invalid part.

    A condition that `is_stored` was checked when it was stored, and later limits do not apply to it.
    """
    if not isinstance(raw, Mapping):
        raise InvalidInput(Code.INVALID, "Give an object with path, operator and value.", *field)
    path = parse_text(raw.get("path"), *field, "path", max_length=200)
    operator = parse_operator(raw.get("operator", "EQ"), *field, "operator")
    operand = parse_operand(raw.get("value"), operator, *field, "value", is_stored=is_stored)
    return Condition(path, operator, operand)


def parse_metadata_condition(raw: object, *field: str, is_stored: bool = False) -> Condition:
    """Return a condition on metadata. Raises InvalidInput with the path of the invalid part."""
    condition = parse_condition(raw, *field, is_stored=is_stored)
    if not is_stored:
        check_steps(condition.steps, *field, "path")
    return condition


def check_steps(steps: Steps, *field: str) -> None:
    """Raise InvalidInput for a path that no value can have."""
    if not 0 < len(steps) <= MAX_JSON_DEPTH or any(step.startswith("$") for step in steps):
        message = (
            f'Give up to {MAX_JSON_DEPTH} keys joined by points, for example "store.city"; no key begins with "$".'
        )
        raise InvalidInput(Code.INVALID, message, *field)


def parse_operator(raw: object, *field: str) -> Operator:
    """Return the operator of that name. Raises InvalidInput: UNKNOWN."""
    operator = Operator.__members__.get(str(raw))
    if operator is None:
        raise InvalidInput(Code.UNKNOWN, f"Give one of {', '.join(Operator)}.", *field)
    if operator in RELATIVE:
        message = f"{operator} compares an instant of the pass with {{days: N}}; give another operator."
        raise InvalidInput(Code.UNSUPPORTED, message, *field)
    return operator


def parse_operand(raw: object, operator: Operator, *field: str, is_stored: bool = False) -> object:
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
        return tuple(_parse_scalar(item, is_stored, *field, str(index)) for index, item in enumerate(raw))
    if raw is None:
        raise InvalidInput(Code.REQUIRED, f"Give the value that {operator} compares with.", *field)
    value = _parse_scalar(raw, is_stored, *field)
    if operator in ORDERED and isinstance(value, bool):
        raise InvalidInput(
            Code.INVALID, f"true and false have no order; give {operator} a number, text or instant.", *field
        )
    if operator is Operator.CONTAINS:
        if not isinstance(value, str):
            raise InvalidInput(Code.INVALID, "Give CONTAINS a text.", *field)
        if not is_stored and (size := pattern_bytes(value)) > MAX_PATTERN_BYTES:
            message = (
                f"This text takes {size} bytes as a pattern; give CONTAINS at most {MAX_PATTERN_BYTES}. A sign such as "
                '"." takes 2, and a character beyond ASCII up to 4.'
            )
            raise InvalidInput(Code.TOO_LONG, message, *field)
    return value


def pattern_bytes(text: str) -> int:
    """Return the size of a text as a regular expression in UTF-8, with its signs escaped."""
    return len(text.encode()) + sum(text.count(sign) for sign in PATTERN_CHARACTERS) + 3 * text.count("\0")


def _parse_scalar(raw: object, is_stored: bool, *field: str) -> object:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str):
        if any("\ud800" <= c <= "\udfff" for c in raw):
            raise InvalidInput(Code.INVALID, "Remove unpaired surrogates from this text.", *field)
        if len(raw) > MAX_OPERAND_CHARACTERS and not is_stored:
            message = f"This text has {len(raw)} characters; give at most {MAX_OPERAND_CHARACTERS:,}."
            raise InvalidInput(Code.TOO_LONG, message, *field)
        return raw
    if isinstance(raw, (int, float, Decimal)):
        return _parse_number(raw, *field)
    raise InvalidInput(Code.INVALID, "Give a text, a number, true or false.", *field)


def _parse_number(raw: int | float | Decimal, *field: str) -> int | float:
    """Return a number as metadata keeps it, so that equal digits compare as equal. Raises InvalidInput."""
    if isinstance(raw, int):
        if abs(raw) > MAX_JSON_INTEGER:
            message = "Integers beyond 2^53 are kept as texts, so give the digits of this number as a text."
            raise InvalidInput(Code.OUT_OF_RANGE, message, *field)
        return raw
    number = float(raw)
    if not math.isfinite(number):
        raise InvalidInput(Code.INVALID, "Give a finite number of at most 1.7e308.", *field)
    return int(number) if number.is_integer() and abs(number) <= MAX_JSON_INTEGER else number
