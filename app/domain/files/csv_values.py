"""Parsers of table cells that hold instants and names of event types."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from app.domain.errors import Code, InvalidInput
from app.domain.events.events import TYPES
from app.domain.values.instants import EPOCH, parse_instant


class DateOrder(StrEnum):
    """Which of day and month comes first in a date such as 03/04/2026 or 03.04.2026."""

    DMY = "DMY"
    MDY = "MDY"


MAX_CELL_CHARACTERS = 64
"""Characters of a date."""

_CLOCK = r"(?:[ T,]+(?P<h>\d{1,2}):(?P<min>\d\d)(?::(?P<s>\d\d)(?:[.,](?P<f>\d{1,9}))?)?\s*(?P<ap>[AaPp]\.?[Mm]\.?)?)?"
_OFFSET = r"\s*(?P<off>[Zz]|UTC|GMT|[+-]\d\d:?\d\d)?"
_YEAR_FIRST = re.compile(rf"(?P<y>\d{{4}})(?P<sep>[-/.])(?P<m>\d{{1,2}})(?P=sep)(?P<d>\d{{1,2}}){_CLOCK}{_OFFSET}")
_COMPACT = re.compile(rf"(?P<y>\d{{4}})(?P<m>\d\d)(?P<d>\d\d){_CLOCK}{_OFFSET}")
_EITHER = re.compile(rf"(?P<a>\d{{1,2}})(?P<sep>[/.-])(?P<b>\d{{1,2}})(?P=sep)(?P<y>\d{{4}}|\d\d){_CLOCK}{_OFFSET}")
_NAMED = re.compile(
    rf"(?P<d>\d{{1,2}})(?:\.? |[/-])(?P<mon>[A-Za-z]{{3,9}})\.?[ ,/-]+(?P<y>\d{{4}}|\d\d){_CLOCK}{_OFFSET}"
)
_MONTH_FIRST = re.compile(rf"(?P<mon>[A-Za-z]{{3,9}})\.? (?P<d>\d{{1,2}}),? (?P<y>\d{{4}}){_CLOCK}{_OFFSET}")
_EPOCH = re.compile(r"(?P<s>\d{9,10})(?:\.\d{1,9})?|(?P<ms>\d{12,13})")
_MONTHS = "january february march april may june july august september october november december".split()

_WORDS = re.compile(r"[\s\-/]+")


def parse_cell_instant(text: str, zone: ZoneInfo, order: DateOrder | None, *field: str) -> datetime:
    """Return the instant of a cell in UTC.

    A cell without an offset is local time in `zone`, and a cell without a time is midnight. Accepted formats:

    - ISO 8601, 2026/01/31, 20260131, 31 Jan 2026, 31-Jan-26 and "Jan 31, 2026";
    - seconds or milliseconds since 1970;
    - 01/31/2026, 31/01/2026 and 31.01.2026. If `order` is given, it decides, and a date that contradicts it is rejected.
      Without it, dates with points begin with the day, and other dates need to be dates in one reading only.

    Two-digit years are 1969 to 2068. Raises InvalidInput: INVALID, or OUT_OF_RANGE outside the years 1900 to 2199.
    """
    text = text.strip()
    if len(text) > MAX_CELL_CHARACTERS:
        raise _not_a_date(field)
    if found := _EPOCH.fullmatch(text):
        seconds = Decimal(text) / 1000 if found["ms"] else Decimal(text)
        return parse_instant(EPOCH + timedelta(milliseconds=int(seconds * 1000)), *field)
    for pattern in (_YEAR_FIRST, _COMPACT, _EITHER, _NAMED, _MONTH_FIRST):
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
        day, month = _day_and_month(found, order, field)
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


def _day_and_month(found: re.Match[str], order: DateOrder | None, field: tuple[str, ...]) -> tuple[int, int]:
    a, b = int(found["a"]), int(found["b"])
    if order is not None:
        day, month = (a, b) if order is DateOrder.DMY else (b, a)
        if month > 12 >= day:
            message = f"'{found[0]}' has no month in the order {order} of this file, so other dates may be misread."
            raise InvalidInput(
                Code.INVALID,
                f"{message} Correct the row, or set dateOrder (--date-order) to the order of all rows.",
                *field,
            )
        return day, month
    if a > 12 >= b or a == b or found["sep"] == ".":
        return a, b
    if b > 12 >= a:
        return b, a
    raise InvalidInput(
        Code.INVALID,
        f"Day or month may come first in '{found[0]}'; set dateOrder (--date-order) to DMY or MDY.",
        *field,
    )


def _parse_month(name: str, field: tuple[str, ...]) -> int:
    matching = [number for number, month in enumerate(_MONTHS, 1) if month.startswith(name.lower())]
    if name.lower() == "sept":
        return 9
    if len(matching) != 1:
        raise _not_a_date(field)
    return matching[0]


def _not_a_date(field: tuple[str, ...]) -> InvalidInput:
    return InvalidInput(
        Code.INVALID, "This is not a date in a known format; write it like 2026-01-31 or 2026-01-31T09:30:00Z.", *field
    )
