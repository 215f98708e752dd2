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
_EXACT = Context(prec=MAX_DIGITS)


def to_decimal128(value: Decimal) -> Decimal128:
    """Return the same value with the same exponent. At most 34 digits; exponents as the domain makes them."""
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    coefficient = int(value.copy_abs().scaleb(-exponent, _EXACT))
    bits = value.is_signed() << 127 | exponent + _EXPONENT_BIAS << 113 | coefficient
    return Decimal128.from_bid(bits.to_bytes(16, "little"))


def from_decimal128(stored: Decimal128) -> Decimal:
    """Return the same value with the same exponent."""
    bits = int.from_bytes(stored.bid, "little")
    if bits >> 125 & 3 == 3:  # Infinity, NaN or a coefficient of more than 34 digits, which we never write.
        return stored.to_decimal()
    value = Decimal(bits & _COEFFICIENT_MASK).scaleb((bits >> 113 & _EXPONENT_MASK) - _EXPONENT_BIAS, _EXACT)
    return value.copy_negate() if bits >> 127 else value
