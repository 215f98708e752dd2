"""Conversion between Decimal and Decimal128, needed for every event.

The driver's own takes three to five times as long.
"""

from __future__ import annotations

from decimal import Context, Decimal

from bson import Decimal128

MAX_DIGITS = 34
"""Digits of a Decimal128."""
_EXPONENT_BIAS = 6176
_COEFFICIENT_MASK = (1 << 113) - 1
_EXPONENT_MASK = 0x3FFF
_LOW_MASK = (1 << 64) - 1
_EXACT = Context(prec=MAX_DIGITS)


def to_decimal128(value: Decimal) -> Decimal128:
    """Return the same value with the same exponent. At most 34 digits; exponents as the domain makes them."""
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    coefficient = 0
    for digit in digits:  # Amounts have few digits: for them, a scaled copy takes longer.
        coefficient = 10 * coefficient + digit
    high = sign << 63 | exponent + _EXPONENT_BIAS << 49 | coefficient >> 64
    # The driver documents pairs of (high bits, low bits), but its types leave them out.
    return Decimal128((high, coefficient & _LOW_MASK))  # type: ignore[arg-type]


def from_decimal128(stored: Decimal128) -> Decimal:
    """Return the same value with the same exponent."""
    bits = int.from_bytes(stored.bid, "little")
    if bits >> 125 & 3 == 3:  # Infinity, NaN or a coefficient of more than 34 digits, which we never write.
        return stored.to_decimal()
    value = Decimal(bits & _COEFFICIENT_MASK).scaleb((bits >> 113 & _EXPONENT_MASK) - _EXPONENT_BIAS, _EXACT)
    return value.copy_negate() if bits >> 127 else value
