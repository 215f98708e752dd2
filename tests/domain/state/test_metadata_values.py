"""Values of the metadata as coordinates of groups."""

from __future__ import annotations

from decimal import Decimal

from app.domain.state.metadata_values import texts_at, value_of


def test_equal_numbers_are_one_value_and_texts_are_others() -> None:
    metadata = {"a": [10, 10.0, Decimal("10.00"), "10", True, {"b": 1}, None, 0.1]}
    texts = texts_at(metadata, ("a",))
    assert {text: value_of(text) for text in texts} == {'"10"': "10", "0.1": 0.1, "10": 10, "true": True}
    assert texts_at(metadata, ("x",)) == [None]
    assert value_of(None) is None


def test_numbers_that_lose_digits_as_floats_stay_texts() -> None:
    [text] = texts_at({"a": Decimal("0.12345678901234567890")}, ("a",))
    assert value_of(text) == "0.1234567890123456789"
