"""Parsers of table cells: instants, amounts of money, numbers and names of event types. They never round a value.

Each cell is parsed independently of other rows. So if a file grows and is imported again, its old rows give the same
events.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from app.domain.errors import Code, InvalidInput
from app.domain.events.events import TYPES
from app.domain.values.currencies import CURRENCIES
from app.domain.values.decimals import parse_decimal
from app.domain.values.instants import EPOCH, parse_instant


class DateOrder(StrEnum):
    """Which of day and month comes first in a date such as 03/04/2026."""

    DMY = "DMY"
    MDY = "MDY"


MAX_CELL_CHARACTERS = 64
"""Characters of a date or an amount."""

_CLOCK = r"(?:[ T,]+(?P<h>\d{1,2}):(?P<min>\d\d)(?::(?P<s>\d\d)(?:[.,](?P<f>\d{1,9}))?)?\s*(?P<ap>[AaPp]\.?[Mm]\.?)?)?"
_OFFSET = r"\s*(?P<off>[Zz]|UTC|GMT|[+-]\d\d:?\d\d)?"
_YEAR_FIRST = re.compile(rf"(?P<y>\d{{4}})(?P<sep>[-/.])(?P<m>\d{{1,2}})(?P=sep)(?P<d>\d{{1,2}}){_CLOCK}{_OFFSET}")
_COMPACT = re.compile(rf"(?P<y>\d{{4}})(?P<m>\d\d)(?P<d>\d\d){_CLOCK}{_OFFSET}")
_DOTTED = re.compile(rf"(?P<d>\d{{1,2}})\.(?P<m>\d{{1,2}})\.(?P<y>\d{{4}}|\d\d){_CLOCK}{_OFFSET}")
_EITHER = re.compile(rf"(?P<a>\d{{1,2}})(?P<sep>[/-])(?P<b>\d{{1,2}})(?P=sep)(?P<y>\d{{4}}|\d\d){_CLOCK}{_OFFSET}")
_NAMED = re.compile(rf"(?P<d>\d{{1,2}})[ -](?P<mon>[A-Za-z]{{3,9}})\.?[ ,-]+(?P<y>\d{{4}}){_CLOCK}{_OFFSET}")
_MONTH_FIRST = re.compile(rf"(?P<mon>[A-Za-z]{{3,9}})\.? (?P<d>\d{{1,2}}),? (?P<y>\d{{4}}){_CLOCK}{_OFFSET}")
_EPOCH = re.compile(r"(?P<s>\d{9,10})(?:\.\d{1,9})?|(?P<ms>\d{12,13})")
_MONTHS = "january february march april may june july august september october november december".split()

_MONEY = re.compile(
    r"(?P<head>[^\d.,()+-]*)(?P<sign>[+-]?)(?P<mid>[^\d.,()+-]*)(?P<digits>[\d.,'\u2019\s]*\d)(?P<tail>[^\d(]*)"
)
_ENGLISH = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_CONTINENTAL = re.compile(r"\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}|\d+,\d{1,2}")
_SPACED = re.compile(r"\d{1,3}(?:[\s'\u2019]\d{3})+(?:[.,]\d{1,2})?")
_SYMBOLS = {
    "US$": "USD",
    "€": "EUR",
    "£": "GBP",
    "₹": "INR",
    "₽": "RUB",
    "₩": "KRW",
    "₺": "TRY",
    "₪": "ILS",
    "zł": "PLN",
}
_DOLLARS = frozenset("USD AUD CAD NZD SGD HKD TWD MXN CLP COP ARS BBD BSD JMD TTD XCD NAD FJD".split())

_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,6})?")
_WORDS = re.compile(r"[\s\-/]+")


def parse_cell_instant(text: str, zone: ZoneInfo, order: DateOrder | None, *field: str) -> datetime:
    """Return the instant of a cell in UTC.

    A cell without an offset is local time in `zone`, and a cell without a time is midnight. Accepted formats:

    - ISO 8601, 2026/01/31, 20260131, 31.01.2026, 31 Jan 2026 and "Jan 31, 2026";
    - seconds or milliseconds since 1970;
    - 01/31/2026 and 31/01/2026, if only one reading is a date or `order` decides.

    Two-digit years are 1969 to 2068. Raises InvalidInput: INVALID, or OUT_OF_RANGE outside the years 1900 to 2199.
    """
    text = text.strip()
    if len(text) > MAX_CELL_CHARACTERS:
        raise _not_a_date(field)
    if found := _EPOCH.fullmatch(text):
        seconds = Decimal(text) / 1000 if found["ms"] else Decimal(text)
        return parse_instant(EPOCH + timedelta(milliseconds=int(seconds * 1000)), *field)
    for pattern in (_YEAR_FIRST, _COMPACT, _DOTTED, _EITHER, _NAMED, _MONTH_FIRST):
        if found := pattern.fullmatch(text):
            return parse_instant(_build_instant(found, zone, order, field), *field)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise _not_a_date(field) from None
    return parse_instant(at if at.tzinfo else at.replace(tzinfo=zone), *field)


def detect_date_order(texts: Iterable[str]) -> DateOrder | None:
    """Return the date order of a column if some dates show one order and none the other, else None."""
    orders = set()
    for text in texts:
        found = _EITHER.fullmatch(text.strip())
        if found and int(found["a"]) > 12 >= int(found["b"]):
            orders.add(DateOrder.DMY)
        elif found and int(found["b"]) > 12 >= int(found["a"]):
            orders.add(DateOrder.MDY)
    return orders.pop() if len(orders) == 1 else None


def parse_cell_amount(text: str, default_currency: str, *field: str) -> tuple[Decimal, str | None]:
    """Return the exact amount of a cell and its currency mark, if any: "€1.234,50" is 1234.50 in EUR.

    Commas before groups of three digits separate thousands. A comma before the last one or two digits is the decimal
    point, and so is a single point. Parentheses mean a negative amount. "$" is accepted if the default currency is a
    dollar or a peso, and returned as no mark. Raises InvalidInput: INVALID, OUT_OF_RANGE or TOO_LONG.
    """
    text = text.strip()
    negative = text.startswith("(") and text.endswith(")")
    found = _MONEY.fullmatch(text[1:-1] if negative else text) if len(text) <= MAX_CELL_CHARACTERS else None
    if found is None:
        raise _not_an_amount(field)
    tail = found["tail"].strip()
    if tail.endswith("-") and not found["sign"]:
        negative, tail = True, tail[:-1].strip()
    marks = [mark for mark in (found["head"].strip(), found["mid"].strip(), tail) if mark]
    if len(marks) > 1:
        raise _not_an_amount(field)
    currency = _currency_of(marks[0], default_currency, field) if marks else None
    digits = found["digits"].strip()
    if _CONTINENTAL.fullmatch(digits):
        digits = digits.replace(".", "").replace(",", ".")
    elif _ENGLISH.fullmatch(digits):
        digits = digits.replace(",", "")
    elif _SPACED.fullmatch(digits):
        digits = re.sub(r"[\s'\u2019]", "", digits).replace(",", ".")
    if "," in digits:
        raise _not_an_amount(field)
    value = parse_decimal(digits, *field)
    return (-value if (negative or found["sign"] == "-") and value else value), currency


def parse_cell_value(text: str) -> str | int | float:
    """Return a metadata cell as a number if it is a plain one ("12", "-3.50"; not "007" or "1e5"), else as text."""
    if not _NUMBER.fullmatch(text) or (text[0] == "-" and not text.strip("-0.")):
        return text
    return float(text) if "." in text else int(text)


def parse_cell_type(text: str) -> str:
    """Return the event type that a cell names: its words, joined by underscores.

    A built-in type is recognized in any spelling: "Check-In" is check_in. Other types keep their capital letters.
    """
    joined = _WORDS.sub("_", text.strip())
    return joined.lower() if joined.lower() in TYPES else joined


def _build_instant(found: re.Match[str], zone: ZoneInfo, order: DateOrder | None, field: tuple[str, ...]) -> datetime:
    parts = found.groupdict()
    year = int(parts["y"])
    if len(parts["y"]) == 2:
        year += 1900 if year >= 69 else 2000
    if "a" in parts:
        day, month = _day_and_month(int(parts["a"]), int(parts["b"]), order, field)
    elif "mon" in parts:
        day, month = int(parts["d"]), _parse_month(parts["mon"], field)
    else:
        day, month = int(parts["d"]), int(parts["m"])
    hour = int(parts["h"] or 0)
    if parts["ap"]:
        if not 1 <= hour <= 12:
            raise _not_a_date(field)
        hour = hour % 12 + (12 if parts["ap"][0] in "pP" else 0)
    fraction = int((parts["f"] or "0").ljust(6, "0")[:6])
    try:
        at = datetime(year, month, day, hour, int(parts["min"] or 0), int(parts["s"] or 0), fraction, tzinfo=zone)
    except ValueError:
        raise _not_a_date(field) from None
    off = parts["off"]
    if off is None:
        return at
    if off[0] not in "+-":
        return at.replace(tzinfo=UTC)
    hours, minutes = int(off[1:3]), int(off[-2:])
    if hours > 23 or minutes > 59:
        raise _not_a_date(field)
    shift = timedelta(hours=hours, minutes=minutes)
    return at.replace(tzinfo=UTC) - (shift if off[0] == "+" else -shift)


def _day_and_month(a: int, b: int, order: DateOrder | None, field: tuple[str, ...]) -> tuple[int, int]:
    if a > 12 >= b or a == b:
        return a, b
    if b > 12 >= a:
        return b, a
    if order is None:
        raise InvalidInput(
            Code.INVALID, "Day or month may come first here; set dateOrder (--date-order) to DMY or MDY.", *field
        )
    return (a, b) if order is DateOrder.DMY else (b, a)


def _parse_month(name: str, field: tuple[str, ...]) -> int:
    matching = [number for number, month in enumerate(_MONTHS, 1) if month.startswith(name.lower())]
    if name.lower() == "sept":
        return 9
    if len(matching) != 1:
        raise _not_a_date(field)
    return matching[0]


def _currency_of(mark: str, default_currency: str, field: tuple[str, ...]) -> str | None:
    code = _SYMBOLS.get(mark, mark.upper())
    if code in CURRENCIES:
        return code
    if mark == "$" and default_currency in _DOLLARS:
        return None
    raise InvalidInput(Code.INVALID, f"'{mark[:20]}' does not name one currency; map a column or value to it.", *field)


def _not_a_date(field: tuple[str, ...]) -> InvalidInput:
    return InvalidInput(
        Code.INVALID, "This is not a date in a known format; write it like 2026-01-31 or 2026-01-31T09:30:00Z.", *field
    )


def _not_an_amount(field: tuple[str, ...]) -> InvalidInput:
    return InvalidInput(Code.INVALID, "This is not an amount; write it like 1234.50.", *field)
