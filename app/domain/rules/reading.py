"""Helpers of the parsers of rules: they collect all problems of an input, and read its small values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from app.domain.errors import Code, InvalidInput, Problem, Refused
from app.domain.values.decimals import parse_decimal

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


class Problems:
    """Problems of one input, collected while its values are read."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def read(self, parse: Callable[..., T], raw: object, *path: str, **options: object) -> T | None:
        """Return the parsed value; None for None, and for a value with problems, which are kept."""
        if raw is None:
            return None
        try:
            return parse(raw, *path, **options)
        except Refused as refused:
            self.found.extend(refused.problems)
            return None

    def require(
        self, parse: Callable[..., T], body: Mapping[str, object], *path: str, message: str, **options: object
    ) -> T | None:
        """Return the parsed value of the object's field that the path ends with. A field without a value is a problem."""
        if body.get(path[-1]) is None:
            self.add(Code.REQUIRED, message, *path)
        return self.read(parse, body.get(path[-1]), *path, **options)

    def add(self, code: Code, message: str, *path: str) -> None:
        """Keep a problem."""
        self.found.append(Problem(code, message, path))


def parse_choice(raw: object, *path: str, names: Sequence[str]) -> tuple[str, object]:
    """Return the only field of an alternative that has a value, and the value. Raises InvalidInput."""
    present = {key: value for key, value in raw.items() if value is not None} if isinstance(raw, Mapping) else {}
    if len(present) != 1 or next(iter(present)) not in names:
        raise InvalidInput(Code.INVALID, f"Give exactly one of {', '.join(names)}.", *path)
    return next(iter(present.items()))


def parse_body(raw: object, *path: str) -> Mapping[str, object]:
    """Return an object. Raises InvalidInput."""
    if not isinstance(raw, Mapping):
        raise InvalidInput(Code.INVALID, "Give an object.", *path)
    return raw


def parse_member(raw: object, *path: str, members: type[E]) -> E:
    """Return the member of an enumeration with this name. Raises InvalidInput: UNKNOWN."""
    found = members.__members__.get(str(raw))
    if found is None:
        raise InvalidInput(Code.UNKNOWN, f"Give one of {', '.join(members)}.", *path)
    return found


def parse_integer(raw: object, *path: str, least: int, most: int) -> int:
    """Return a whole number between two bounds, both inclusive. Raises InvalidInput."""
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise InvalidInput(Code.INVALID, "Give a whole number.", *path)
    if not least <= raw <= most:
        raise InvalidInput(Code.OUT_OF_RANGE, f"Give a whole number from {least:,} to {most:,}.", *path)
    return raw


def parse_positive(raw: object, *path: str) -> Decimal:
    """Return a decimal greater than 0, with at most 15 digits before the point and 6 after it. Raises InvalidInput."""
    value = parse_decimal(raw, *path)
    if value <= 0:
        raise InvalidInput(Code.OUT_OF_RANGE, "Give a number greater than 0.", *path)
    return value


def parse_not_negative(raw: object, *path: str) -> Decimal:
    """Return a decimal that is 0 or greater. Raises InvalidInput."""
    value = parse_decimal(raw, *path)
    if value < 0:
        raise InvalidInput(Code.OUT_OF_RANGE, "Give a number that is not negative.", *path)
    return value
