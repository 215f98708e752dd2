"""JSON values with exact numbers, in the form in which metadata stores them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal

from .text import MAX_JSON_DEPTH, MAX_JSON_INTEGER

_MAX_PLAIN_EXPONENT = 64
"""Power of ten up to which a number is written without an exponent."""
_SIZED = (str, Decimal, list, dict)
"""Types of values that may have more than one character."""
_BITS_PER_DIGIT = 4
"""Bits of an integer that stand for at least one decimal digit."""


def keep_numbers(value: object, depth: int = MAX_JSON_DEPTH + 1) -> object:
    """Return the JSON value with floats in place of decimals, and texts in place of numbers that would lose digits.

    A float keeps about 17 digits, and JavaScript reads integers exactly up to 2^53. Beyond `depth`, values stay
    unchanged: the validation of metadata rejects them. (Source: decision 0035.)
    """
    if isinstance(value, Decimal):
        number = float(value)
        return number if Decimal(repr(number)) == value else _write(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value if -MAX_JSON_INTEGER <= value <= MAX_JSON_INTEGER else str(value)
    if depth and isinstance(value, Mapping):
        return {name: keep_numbers(item, depth - 1) for name, item in value.items()}
    return [keep_numbers(item, depth - 1) for item in value] if depth and isinstance(value, list) else value


def _write(value: Decimal) -> str:
    return format(value, "f") if abs(value.adjusted()) < _MAX_PLAIN_EXPONENT else str(value)


def measure_json(value: object, limit: int) -> int:
    """Return a lower bound of the characters of a value as JSON, or more than `limit` as soon as it is exceeded.

    The time is in proportion to `limit`, however large the value is.
    """
    size, waiting = 2, [value]
    while waiting and size <= limit:
        item = waiting.pop()
        if isinstance(item, str):
            size += len(item)
            continue
        if isinstance(item, (int, Decimal)):
            # Long numbers become texts, so count their digits as well.
            digits = item.bit_length() // _BITS_PER_DIGIT if isinstance(item, int) else len(str(item))
            size += max(0, digits - 2)
            continue
        parts: Collection[object] = ()
        if isinstance(item, Mapping):
            parts = item.values()
            size += 2 * len(parts)
            if size <= limit:
                size += sum(map(len, item))
        elif isinstance(item, list):
            parts = item
        # Each part has at least one character and a comma.
        size += 2 * len(parts)
        if size <= limit:
            waiting += [
                part
                for part in parts
                if isinstance(part, _SIZED) or (isinstance(part, int) and abs(part) > MAX_JSON_INTEGER)
            ]
    return size
