"""Filters of templates. Their results depend on their arguments alone, and numbers are exact decimals."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal, DecimalException
from urllib.parse import quote_plus

from liquid.builtin.filters.misc import default
from liquid.exceptions import FilterArgumentError, LiquidError
from liquid.undefined import Undefined

from app.domain.rules.texts import MAX_TEXT_BYTES
from app.domain.values.decimals import ROUNDED, WIDE_ROUNDED, read_number

MAX_DIGITS = 60
"""Digits of a number that a filter returns."""
_PLACES = 6


class TooMuchWork(LiquidError):
    """A template that works too much. `message` says which limit it exceeds."""


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if isinstance(value, (str, int, float, Decimal)):
        return str(value)
    raise FilterArgumentError(f"expected a text or a number, found {_kind(value)}", token=None)


def _kind(value: object) -> str:
    if isinstance(value, Undefined):
        return "no value"
    return "an object" if isinstance(value, Mapping) else "a list"


def _number(value: object) -> Decimal:
    found = read_number(value)
    if found is None:
        shown = f"'{value[:50]}'" if isinstance(value, str) else "a value that is none"
        raise FilterArgumentError(f"expected a number, found {shown}", token=None)
    return found


def _shown(number: Decimal) -> int | Decimal:
    """Return a number as templates show it: a whole number, or a decimal with up to 6 places."""
    if not number.is_finite() or abs(number.adjusted()) > MAX_DIGITS:
        raise FilterArgumentError(f"the number has more than {MAX_DIGITS} digits", token=None)
    if number == number.to_integral_value():
        return int(number)
    rounded = round(number, _PLACES).normalize()
    return int(rounded) if rounded == rounded.to_integral_value() else rounded


def _calculate(operation: Callable[[Decimal, Decimal], Decimal]) -> Callable[[object, object], object]:
    def apply(value: object, other: object) -> object:
        try:
            return _shown(operation(_number(value), _number(other)))
        except DecimalException as error:
            raise FilterArgumentError("this calculation has no result", token=None) from error

    return apply


def _round(rounding: str) -> Callable[..., object]:
    def apply(value: object, places: object = 0) -> object:
        digits = int(_number(places))
        if not 0 <= digits <= _PLACES:
            raise FilterArgumentError(f"give 0 to {_PLACES} places", token=None)
        number = _number(value)
        _shown(number)
        return _shown(number.quantize(Decimal(1).scaleb(-digits), rounding=rounding, context=WIDE_ROUNDED))

    return apply


def _divided_by(value: Decimal, other: Decimal) -> Decimal:
    if not other:
        raise FilterArgumentError("a number cannot be divided by 0", token=None)
    quotient = ROUNDED.divide(value, other)
    # As in Liquid, a whole number divided by a whole number gives a whole number, rounded down.
    is_whole = value == value.to_integral_value() and other == other.to_integral_value()
    return quotient.to_integral_value(rounding=ROUND_FLOOR) if is_whole else quotient


def _modulo(value: Decimal, other: Decimal) -> Decimal:
    if not other:
        raise FilterArgumentError("a number cannot be divided by 0", token=None)
    rest = WIDE_ROUNDED.remainder(value, other)
    return WIDE_ROUNDED.add(rest, other) if rest and (rest < 0) != (other < 0) else rest


def _replace(value: object, old: object, new: object = "") -> str:
    text, part, other = _text(value), _text(old), _text(new)
    if len(text) + text.count(part) * len(other) > MAX_TEXT_BYTES:
        raise TooMuchWork(f"The filter 'replace' returns more than {MAX_TEXT_BYTES:,} characters.", token=None)
    return text.replace(part, other)


def _split(value: object, separator: object) -> list[str]:
    text, part = _text(value), _text(separator)
    return (text.split(part) if part else list(text)) if text else []


def _items(value: object) -> list[object]:
    if isinstance(value, (list, tuple, range)):
        return list(value)
    raise FilterArgumentError(
        f"expected a list, found {_kind(value) if isinstance(value, Mapping) else 'a value'}", token=None
    )


def _join(value: object, separator: object = " ") -> str:
    parts, between = [_text(item) for item in _items(value)], _text(separator)
    if sum(map(len, parts)) + len(between) * len(parts) > MAX_TEXT_BYTES:
        raise TooMuchWork(f"The filter 'join' returns more than {MAX_TEXT_BYTES:,} characters.", token=None)
    return between.join(parts)


def _slice(value: object, start: object, length: object = 1) -> object:
    items = list(value) if isinstance(value, (list, tuple)) else _text(value)
    first, count = int(_number(start)), max(0, int(_number(length)))
    first = max(0, len(items) + first) if first < 0 else first
    return items[first : first + count]


def _truncate(value: object, length: object = 50, end: object = "...") -> str:
    text, size, tail = _text(value), int(_number(length)), _text(end)
    return text if len(text) <= size else text[: max(0, size - len(tail))] + tail


def _size(value: object) -> int:
    return (
        len(value) if isinstance(value, (str, list, tuple, range, Mapping)) and not isinstance(value, Undefined) else 0
    )


def _date(value: object, pattern: object) -> str:
    """Return an instant or a date of ISO 8601 by a pattern of %Y, %m, %d, %H, %M, %S, %y, %j, %B, %b, %A, %a, %e, %I, %p."""
    text = _text(value)
    try:
        at = datetime.fromisoformat(text) if len(text) > len("2026-01-31") else _midnight(text)
    except ValueError:
        raise FilterArgumentError(f"expected a date of ISO 8601, found '{text[:50]}'", token=None) from None
    return re.sub(
        r"%(-?)(.)", lambda match: _date_part(at, match.group(2), is_short=bool(match.group(1))), _text(pattern)
    )


def _midnight(text: str) -> datetime:
    day = date.fromisoformat(text)
    return datetime(day.year, day.month, day.day)  # noqa: DTZ001 - the day is shown as it is written


def _date_part(at: datetime, letter: str, *, is_short: bool) -> str:
    numbers = {
        "Y": (at.year, 4), "m": (at.month, 2), "d": (at.day, 2), "e": (at.day, 1), "H": (at.hour, 2), "M": (at.minute, 2),
        "S": (at.second, 2), "y": (at.year % 100, 2), "j": (at.timetuple().tm_yday, 3), "I": ((at.hour - 1) % 12 + 1, 2),
    }  # fmt: skip
    names = {
        "B": _MONTHS[at.month - 1], "b": _MONTHS[at.month - 1][:3], "A": _WEEKDAYS[at.weekday()],
        "a": _WEEKDAYS[at.weekday()][:3], "p": "AM" if at.hour < 12 else "PM", "%": "%",
    }  # fmt: skip
    if letter in numbers:
        number, width = numbers[letter]
        return str(number) if is_short else f"{number:0{width}d}"
    if letter in names:
        return names[letter]
    raise FilterArgumentError(f"there is no part %{letter} of a date", token=None)


_MONTHS = "January February March April May June July August September October November December".split()
_WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
FILTERS: Mapping[str, Callable[..., object]] = {
    "abs": lambda value: _shown(abs(_number(value))),
    "append": lambda value, other: _text(value) + _text(other),
    "at_least": _calculate(max),
    "at_most": _calculate(min),
    "capitalize": lambda value: _text(value).capitalize(),
    "ceil": _round(ROUND_CEILING),
    "date": _date,
    "default": default,
    "divided_by": _calculate(_divided_by),
    "downcase": lambda value: _text(value).lower(),
    "escape": lambda value: html.escape(_text(value)),
    "first": lambda value: next(iter(_items(value)), None),
    "floor": _round(ROUND_FLOOR),
    "join": _join,
    "last": lambda value: (_items(value) or [None])[-1],
    "lstrip": lambda value: _text(value).lstrip(),
    "minus": _calculate(ROUNDED.subtract),
    "modulo": _calculate(_modulo),
    "plus": _calculate(ROUNDED.add),
    "prepend": lambda value, other: _text(other) + _text(value),
    "remove": lambda value, part: _replace(value, part, ""),
    "replace": _replace,
    "round": _round(ROUND_HALF_UP),
    "rstrip": lambda value: _text(value).rstrip(),
    "size": _size,
    "slice": _slice,
    "split": _split,
    "strip": lambda value: _text(value).strip(),
    "times": _calculate(ROUNDED.multiply),
    "truncate": _truncate,
    "upcase": lambda value: _text(value).upper(),
    "url_encode": lambda value: quote_plus(_text(value)),
}
"""The filters. Their results depend on their arguments alone."""
