"""Parsers of table cells that hold numbers: amounts of money, points and metadata. They never round a value.

A cell such as 1,234 has two readings: with a decimal comma, or with a comma between thousands. `DecimalMark` says which
one applies. Without it, a cell that has two different readings is rejected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum

from app.domain.errors import Code, InvalidInput
from app.domain.values.currencies import CURRENCIES
from app.domain.values.decimals import parse_decimal


class DecimalMark(StrEnum):
    """Which mark stands before the decimal places of a number: 1,234.50 has a point, 1.234,50 a comma."""

    POINT = "POINT"
    COMMA = "COMMA"


MAX_NUMBER_CHARACTERS = 64
"""Characters of an amount or of a number of points."""

_MINUS = str.maketrans(dict.fromkeys("\u2212\ufe63\uff0d", "-"))
"""The minus signs of Unicode."""
_NUMBER = re.compile(
    r"(?P<head>[^\d,()+-]*?)(?P<sign>[+-]?)(?P<mid>[^\d,()+-]*?)"
    # A point directly behind a letter belongs to an abbreviation: "Rs.500" is not 0.500.
    r"(?P<digits>(?:(?<![^\W\d_])[.,])?\d(?:[\d.,'\u2019\s]*\d)?)(?P<tail>[^\d(]*)"
)
_SIMPLE = re.compile(r"\d{1,15}(?:\.(?:\d\d?|\d{4,6}))?", re.ASCII)
"""A number with one reading, as most files write it."""
_GROUPS = r"[1-9]\d{0,2}(?P<gap>[\s'\u2019])\d{3}(?:(?P=gap)\d{3})*"
_READINGS: Mapping[DecimalMark, re.Pattern[str]] = {
    # No group of thousands begins with 0, so 0,125 is no group. India groups by two digits: 1,23,456.
    DecimalMark.POINT: re.compile(
        rf"(?P<whole>\d+|[1-9]\d{{0,2}}(?:,\d{{3}})+|[1-9]\d?(?:,\d\d)+,\d{{3}}|{_GROUPS}|)(?:\.(?P<places>\d+))?"
    ),
    DecimalMark.COMMA: re.compile(rf"(?P<whole>\d+|[1-9]\d{{0,2}}(?:\.\d{{3}})+|{_GROUPS}|)(?:,(?P<places>\d+))?"),
}
_UNUSUAL_COMMA = re.compile(r".*[1-9].*,\d{4,}")
"""A comma before four digits or more is a decimal comma only if the file has others."""
_BELOW_ONE = re.compile(r"0+[.,]\d{3}")
"""A number with three places that has one reading only because no group of thousands begins with 0."""
_GAPS = re.compile(r"[\s'\u2019.,]")

_SYMBOLS: Mapping[str, str] = {
    "us$": "USD", "€": "EUR", "£": "GBP", "₹": "INR", "₽": "RUB", "₩": "KRW", "₺": "TRY", "tl": "TRY", "₪": "ILS",
    "zł": "PLN", "r$": "BRL", "kč": "CZK", "ft": "HUF", "лв": "BGN", "лв.": "BGN", "lei": "RON", "฿": "THB", "₫": "VND",
    "₦": "NGN", "₱": "PHP", "₴": "UAH", "₸": "KZT", "₲": "PYG", "₡": "CRC", "₵": "GHS", "₼": "AZN", "₾": "GEL",
    "₮": "MNT", "៛": "KHR", "₭": "LAK", "ca$": "CAD", "au$": "AUD", "a$": "AUD", "nz$": "NZD", "hk$": "HKD",
    "nt$": "TWD", "s$": "SGD", "mx$": "MXN", "rm": "MYR", "rp": "IDR", "rp.": "IDR", "s/": "PEN", "円": "JPY",
    "sfr": "CHF", "sfr.": "CHF", "fr.": "CHF",
}  # fmt: skip
"""Marks that name one currency, in lower case."""
_RUPEES = frozenset("INR PKR LKR NPR MUR SCR".split())
_CROWNS = frozenset("SEK NOK DKK ISK".split())
_SHARED: Mapping[str, frozenset[str]] = {
    "$": frozenset("USD AUD CAD NZD SGD HKD TWD MXN CLP COP ARS BBD BSD JMD TTD XCD NAD FJD".split()),
    "kr": _CROWNS,
    "kr.": _CROWNS,
    "rs": _RUPEES,
    "rs.": _RUPEES,
    "₨": _RUPEES,
    "¥": frozenset({"JPY", "CNY"}),
    "￥": frozenset({"JPY", "CNY"}),
    "元": frozenset({"CNY", "TWD"}),
}
"""Marks of several currencies, in lower case. They are accepted where the currency is known to be one of these."""


def parse_cell_amount(
    text: str, default_currency: str, *field: str, mark: DecimalMark | None = None
) -> tuple[Decimal, str | None]:
    """Return the exact amount of a cell and its currency mark, if any: "€1.234,50" is 1234.50 in EUR.

    `mark` is the decimal mark of the file, or None if the file shows none. Parentheses mean a negative amount. A mark of
    several currencies, such as "$" or "kr", is accepted if the default currency is one of them, and returned as no mark.
    Raises InvalidInput: INVALID, OUT_OF_RANGE or TOO_LONG.
    """
    marks, value = _parse_marked(text, mark, field)
    return value, _currency_of(marks[0], default_currency, field) if marks else None


def parse_cell_number(text: str, *field: str, mark: DecimalMark | None = None) -> Decimal:
    """Return the exact number of a cell without a currency: digits, separators and a sign. Errors as for amounts."""
    marks, value = _parse_marked(text, mark, field)
    if marks:
        raise _not_a_number(text, field)
    return value


def detect_decimal_mark(texts: Iterable[str]) -> DecimalMark | None:
    """Return the decimal mark of a file if some of its numbers show one and none shows the other, else None.

    Numbers such as 0,125 count only if no other number shows a mark: they may be mistakes.
    """
    found: set[DecimalMark] = set()
    found_below_one: set[DecimalMark] = set()
    for text in texts:
        matched = _match(text)
        if matched is None:
            continue
        digits = matched["digits"]
        readings = _read_digits(digits, None)
        if len(readings) == 1 and _GAPS.search(digits):
            (found_below_one if _BELOW_ONE.fullmatch(digits) else found).update(readings)
    marks = found or found_below_one
    return marks.pop() if len(marks) == 1 else None


def can_be_amount(text: str, currency: str) -> bool:
    """Return whether a cell is an amount, whatever the decimal mark of its file is."""
    matched = _match(text)
    if matched is None or not any(_read_digits(matched["digits"], mark) for mark in DecimalMark):
        return False
    marks = _marks_of(matched)
    return not marks or (len(marks) == 1 and _find_currency(marks[0], currency) is not None)


def currency_code(text: str) -> str:
    """Return the code of a currency cell in capital letters; "€" is EUR."""
    return _SYMBOLS.get(text.casefold(), text.upper())


def keep_digits(text: str) -> str | int | float:
    """Return a metadata cell as a number if the number keeps its digits ("12", "-3.5"), else as text ("1.10", "007").

    A JSON number has no trailing zeros, and up to 17 digits.
    """
    number = repeat_value(text)
    has_same_digits = isinstance(number, int) or (repr(number) == text and not text.endswith(".0"))
    return number if has_same_digits else text


def repeat_value(text: str) -> str | int | float:
    """Return the value by which a repeat of a metadata cell is recognized: a number for any plain number.

    So "1.10" and "1.1" are repeats of each other. (Source: decision 0035.)
    """
    if not _PLAIN.fullmatch(text) or (text[0] == "-" and not text.strip("-0.")):
        return text
    return float(text) if "." in text else int(text)


_PLAIN = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,6})?", re.ASCII)


def _match(text: str) -> re.Match[str] | None:
    text = text.strip().translate(_MINUS)
    if text.startswith("(") and text.endswith(")"):
        text = text[1:-1]
    return _NUMBER.fullmatch(text) if len(text) <= MAX_NUMBER_CHARACTERS else None


def _marks_of(matched: re.Match[str]) -> list[str]:
    tail = matched["tail"].strip()
    if tail.endswith("-") and not matched["sign"]:
        tail = tail[:-1].strip()
    return [mark for mark in (matched["head"].strip(), matched["mid"].strip(), tail) if mark]


def _parse_marked(text: str, mark: DecimalMark | None, field: tuple[str, ...]) -> tuple[list[str], Decimal]:
    """Return the currency marks of a cell, at most one, and its value."""
    if mark is not DecimalMark.COMMA and _SIMPLE.fullmatch(text):
        return [], parse_decimal(text, *field)
    matched = _match(text)
    marks = [] if matched is None else _marks_of(matched)
    readings = {} if matched is None else _read_digits(matched["digits"], mark)
    if matched is None or len(marks) > 1 or not readings:
        raise _not_a_number(text, field)
    if mark is not None and mark not in readings:
        other = next(iter(readings))
        message = f"'{text[:100]}' has a decimal {other.lower()}, and the file has a decimal {mark.lower()}."
        raise InvalidInput(
            Code.INVALID,
            f"{message} Correct the row, or set decimalMark (--decimal-mark) to {other} if the whole file has it.",
            *field,
        )
    values = set(readings.values())
    if mark is None and len(values) > 1:
        first, second = (readings[each].lstrip("0") or "0" for each in DecimalMark)
        raise InvalidInput(
            Code.INVALID,
            f"'{text[:100]}' is {first} or {second}; set decimalMark (--decimal-mark) to POINT or COMMA.",
            *field,
        )
    value = parse_decimal(readings[mark] if mark is not None else values.pop(), *field)
    stripped = text.strip().translate(_MINUS)
    is_negative = matched["sign"] == "-" or stripped.startswith("(") or matched["tail"].strip().endswith("-")
    return marks, -value if is_negative and value else value


def _read_digits(digits: str, known: DecimalMark | None) -> dict[DecimalMark, str]:
    """Return each reading of digits with separators, as plain digits with a point. `known` is the mark of the file."""
    found = {}
    for mark, pattern in _READINGS.items():
        matched = pattern.fullmatch(digits)
        if matched is None or (mark is not known and mark is DecimalMark.COMMA and _UNUSUAL_COMMA.fullmatch(digits)):
            continue
        whole, places = _GAPS.sub("", matched["whole"]), matched["places"]
        found[mark] = whole if places is None else f"{whole or '0'}.{places}"
    return found


def _find_currency(mark: str, default_currency: str) -> str | None:
    """Return the currency that a mark names, or None. A mark of several currencies names the default, if it is one."""
    code = currency_code(mark)
    if code in CURRENCIES:
        return code
    return default_currency if default_currency in _SHARED.get(mark.casefold(), ()) else None


def _currency_of(mark: str, default_currency: str, field: tuple[str, ...]) -> str | None:
    """Return the currency that a mark names by itself, or None if only the default currency explains the mark."""
    if _find_currency(mark, default_currency) is None:
        raise InvalidInput(
            Code.INVALID, f"'{mark[:20]}' names no single currency; map a column or a value to currency.", *field
        )
    return None if mark.casefold() in _SHARED else currency_code(mark)


def _not_a_number(text: str, field: tuple[str, ...]) -> InvalidInput:
    what = f"'{text[:100]}' is" if text else "This is"
    return InvalidInput(Code.INVALID, f"{what} not a number that can be read exactly; write it like 1234.50.", *field)
