"""Exact decimals: parsing, arithmetic and formatting, without binary floats."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal, FloatOperation, Inexact, InvalidOperation, Overflow

from app.domain.errors import Code, InvalidInput

EXACT = Context(prec=34, traps=[Inexact, InvalidOperation, Overflow, FloatOperation])
"""Arithmetic in the 34 digits of Decimal128. A result that does not fit raises decimal.Inexact."""
ROUNDED = Context(prec=34, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, Overflow])
"""Arithmetic that rounds to 34 digits, for averages."""
WIDE = Context(prec=1_000, rounding=ROUND_HALF_EVEN, traps=[Inexact, InvalidOperation, Overflow, FloatOperation])
"""Exact arithmetic for any sum of numbers that `read_number` returns: doubles have up to 309 + 324 digits."""
WIDE_ROUNDED = Context(prec=1_000, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, Overflow])
"""Arithmetic that rounds, for averages of such sums."""
MAX_INTEGER_DIGITS = 15
MAX_FRACTION_DIGITS = 6
SIX_PLACES = Decimal("0.000001")
ZERO = Decimal(0)
MAX_EXPONENT = 330
"""Largest power of ten of a number that is read from JSON. Doubles have 10^-324 to 10^308."""
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
MAX_NUMBER_CHARACTERS = 64


def parse_decimal(raw: object, *field: str) -> Decimal:
    """Return an exact decimal from a Decimal, an int, the shortest text of a float, or a text.

    The scale is kept: "29.30" stays "29.30". Raises InvalidInput:

    - INVALID for a value that is no finite decimal number, and for -0;
    - OUT_OF_RANGE for more than 15 integer digits;
    - TOO_LONG for more than 6 fraction digits; trailing zeros do not count.
    """
    if isinstance(raw, Decimal):
        value = raw
    elif isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
        raise _not_a_decimal(field)
    else:
        text = raw if isinstance(raw, str) else repr(raw)
        # Decimal() also accepts underscores, blanks and digits of other scripts. Such texts are typing errors here.
        if len(text) > 64 or not text.isascii() or "_" in text or text != text.strip():
            raise _not_a_decimal(field)
        try:
            value = Decimal(text)
        except InvalidOperation:
            raise _not_a_decimal(field) from None
    if not value.is_finite() or (value.is_zero() and value.is_signed()):
        raise _not_a_decimal(field)
    if value.adjusted() >= MAX_INTEGER_DIGITS and not value.is_zero():
        raise InvalidInput(
            Code.OUT_OF_RANGE, f"Give at most {MAX_INTEGER_DIGITS} digits before the decimal point.", *field
        )
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    if exponent > 0:
        return Decimal(0) if value.is_zero() else value.quantize(Decimal(1), context=EXACT)
    if -exponent > MAX_FRACTION_DIGITS:
        try:
            value = value.quantize(SIX_PLACES, context=EXACT)
        except (Inexact, InvalidOperation):
            raise InvalidInput(
                Code.TOO_LONG, f"Give at most {MAX_FRACTION_DIGITS} digits after the decimal point.", *field
            ) from None
    return value


def read_number(value: object) -> Decimal | None:
    """Return the exact decimal of a JSON number, whatever its number of places, or of a text that holds a number.

    Return None for other values. Examples are true and false, a text that holds anything else, such as "1,5", a text of
    more than 64 characters, and a number beyond 10^330.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        if len(value) > MAX_NUMBER_CHARACTERS or _NUMBER.fullmatch(value) is None:
            return None
        number = Decimal(value)
    elif isinstance(value, (int, Decimal)):
        number = Decimal(value)
    elif isinstance(value, float):
        number = Decimal(repr(value))
    else:
        return None
    if not number:
        return ZERO
    return number if number.is_finite() and abs(number.adjusted()) <= MAX_EXPONENT else None


def add_exactly(a: Decimal, b: Decimal) -> Decimal:
    """Return the exact sum of numbers that `read_number` returned, or of sums of them."""
    return WIDE.add(a, b)


def subtract_exactly(a: Decimal, b: Decimal) -> Decimal:
    """Return the exact difference of numbers that `read_number` returned, or of sums of them."""
    return WIDE.subtract(a, b)


def multiply_exactly(a: Decimal, b: int) -> Decimal:
    """Return the exact product of a number that `read_number` returned and a count."""
    return WIDE.multiply(a, Decimal(b))


def add(a: Decimal, b: Decimal) -> Decimal:
    """Return the exact sum. Raises decimal.Inexact if it has more than 34 digits."""
    return EXACT.add(a, b)


def subtract(a: Decimal, b: Decimal) -> Decimal:
    """Return the exact difference. Raises decimal.Inexact if it has more than 34 digits."""
    return EXACT.subtract(a, b)


def average(total: Decimal, count: int) -> Decimal:
    """Return `total / count`, rounded half-even to 6 decimal places."""
    context = ROUNDED if total.adjusted() < 20 else WIDE_ROUNDED
    return context.divide(total, Decimal(count)).quantize(SIX_PLACES, context=context)


def plain(value: Decimal) -> str:
    """Return the decimal as digits without an exponent. Its scale is kept."""
    return format(value, "f")


def canonical(value: Decimal) -> str:
    """Return the text of the value without trailing zeros: "29.3" for 29.30 and for 29.3."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _not_a_decimal(field: tuple[str, ...]) -> InvalidInput:
    return InvalidInput(
        Code.INVALID,
        'Give a finite decimal number, as text or number, for example "29.30"; no NaN, infinity or -0.',
        *field,
    )
