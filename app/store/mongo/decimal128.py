"""Decimals as the store keeps them, and back. The driver converts too, at three to five times the cost, for every event."""

from __future__ import annotations

from decimal import Context, Decimal

from bson import Decimal128

_BIAS = 6176
_COEFFICIENT = (1 << 113) - 1
_EXPONENT = 0x3FFF
_EXACT = Context(prec=34)


def to_decimal128(value: Decimal) -> Decimal128:
    """The same value with the same exponent. At most 34 digits; exponents as the domain makes them."""
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    coefficient = int(value.copy_abs().scaleb(-exponent, _EXACT))
    bits = value.is_signed() << 127 | exponent + _BIAS << 113 | coefficient
    return Decimal128.from_bid(bits.to_bytes(16, "little"))


def from_decimal128(stored: Decimal128) -> Decimal:
    """The same value with the same exponent."""
    bits = int.from_bytes(stored.bid, "little")
    if bits >> 125 & 3 == 3:  # infinity, NaN, or a coefficient beyond 34 digits: nothing we write
        return stored.to_decimal()
    value = Decimal(bits & _COEFFICIENT).scaleb((bits >> 113 & _EXPONENT) - _BIAS, _EXACT)
    return value.copy_negate() if bits >> 127 else value
