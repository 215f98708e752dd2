"""Exact decimals: what is accepted, how it is added, how it is written. Never a binary float."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, FloatOperation, Inexact, InvalidOperation, Overflow

from app.domain.errors import Code, InvalidInput

# Decimal128 holds 34 digits. A sum that does not fit raises instead of rounding in silence.
EXACT = Context(prec=34, traps=[Inexact, InvalidOperation, Overflow, FloatOperation])
ROUNDED = Context(prec=34, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, Overflow])
MAX_INTEGER_DIGITS = 15
MAX_FRACTION_DIGITS = 6
SIX_PLACES = Decimal("0.000001")
ZERO = Decimal(0)


def parse_decimal(raw: object, *field: str) -> Decimal:
    """An exact decimal from a Decimal, an int, a float as written, or text; its scale is kept ("29.30" stays so).

    Raises InvalidInput: INVALID for anything that is not a finite decimal number, and for -0; OUT_OF_RANGE for more than
    15 integer digits, TOO_LONG for more than 6 fraction digits (trailing zeros do not count).
    """
    if isinstance(raw, Decimal):
        value = raw
    elif isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
        raise _not_a_decimal(field)
    else:
        text = raw if isinstance(raw, str) else repr(raw)
        # Decimal also takes underscores, blanks and digits of other scripts, which no accounting system means.
        if len(text) > 64 or not text.isascii() or "_" in text or text != text.strip():
            raise _not_a_decimal(field)
        try:
            value = Decimal(text)
        except InvalidOperation:
            raise _not_a_decimal(field) from None
    if not value.is_finite() or (value.is_zero() and value.is_signed()):
        raise _not_a_decimal(field)
    if value.adjusted() >= MAX_INTEGER_DIGITS and not value.is_zero():
        raise InvalidInput(Code.OUT_OF_RANGE, f"At most {MAX_INTEGER_DIGITS} digits before the point.", *field)
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    if exponent > 0:
        return Decimal(0) if value.is_zero() else value.quantize(Decimal(1), context=EXACT)
    if -exponent > MAX_FRACTION_DIGITS:
        try:
            value = value.quantize(SIX_PLACES, context=EXACT)
        except (Inexact, InvalidOperation):
            raise InvalidInput(
                Code.TOO_LONG, f"At most {MAX_FRACTION_DIGITS} digits after the point.", *field
            ) from None
    return value


def add(a: Decimal, b: Decimal) -> Decimal:
    """The exact sum, at most 34 digits; raises decimal.Inexact rather than round."""
    return EXACT.add(a, b)


def subtract(a: Decimal, b: Decimal) -> Decimal:
    """The exact difference, at most 34 digits; raises decimal.Inexact rather than round."""
    return EXACT.subtract(a, b)


def average(total: Decimal, count: int) -> Decimal:
    """`total / count`, half-even to 6 places."""
    return ROUNDED.divide(total, Decimal(count)).quantize(SIX_PLACES, rounding=ROUND_HALF_EVEN, context=ROUNDED)


def plain(value: Decimal) -> str:
    """The decimal as plain digits, never with an exponent; its scale is kept."""
    return format(value, "f")


def canonical(value: Decimal) -> str:
    """The one spelling of a value, whatever scale it came with: "29.30" and "29.3" are both "29.3"."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _not_a_decimal(field: tuple[str, ...]) -> InvalidInput:
    return InvalidInput(
        Code.INVALID,
        'Give a finite decimal number, as text or number, for example "29.30"; no NaN, infinity or -0.',
        *field,
    )
