"""Decimals in BSON, encoded without the driver's slower conversion."""

from __future__ import annotations

from decimal import Decimal

from bson import Decimal128
from hypothesis import example, given
from hypothesis import strategies as st

from app.store.mongo.decimal128 import from_decimal128, to_decimal128

stored = st.builds(
    lambda sign, coefficient, exponent: Decimal((sign, tuple(map(int, str(coefficient))), exponent)),
    st.sampled_from([0, 1]),
    st.integers(0, 10**34 - 1),
    st.integers(-40, 40),
)


@given(stored)
@example(Decimal("0"))
@example(Decimal("0.00"))
@example(Decimal("-0.10"))
@example(Decimal("9" * 34))
def test_decimal_is_encoded_as_by_the_driver_and_decodes_to_itself(value: Decimal) -> None:
    assert to_decimal128(value) == Decimal128(value)
    decoded = from_decimal128(to_decimal128(value))
    assert decoded.as_tuple() == value.as_tuple() == Decimal128(value).to_decimal().as_tuple()


@given(st.sampled_from(["NaN", "Infinity", "-Infinity", "1E+6000"]))
def test_special_values_are_decoded_as_by_the_driver(text: str) -> None:
    decoded = from_decimal128(Decimal128(text))
    assert str(decoded) == str(Decimal128(text).to_decimal())
