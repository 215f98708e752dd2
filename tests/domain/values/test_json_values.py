"""JSON values with exact numbers, and their size."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.domain.values.json_values import keep_numbers, measure_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | st.integers(-(10**50), 10**50) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


def test_numbers_that_would_lose_digits_become_texts() -> None:
    sent = {"a": Decimal("1.50"), "b": [2**53, 2**53 + 1, -(2**60)], "c": Decimal("0.1234567890123456789"), "d": True}
    assert keep_numbers(sent) == {
        "a": 1.5, "b": [2**53, "9007199254740993", str(-(2**60))], "c": "0.1234567890123456789", "d": True,
    }  # fmt: skip
    assert [keep_numbers(Decimal(text)) for text in ("1E+400", "1e22", "NaN")] == ["1E+400", 1e22, "NaN"]


@given(VALUES)
def test_size_is_a_lower_bound_of_the_text(value: Any) -> None:
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    assert measure_json(value, 10**9) <= size + 1
    assert measure_json(value, 10**9) * 4 >= size - 10


def test_size_of_a_large_value_is_not_counted_to_its_end() -> None:
    shared = ["x"] * 100_000
    assert measure_json([shared] * 100_000, 50) > 50
    assert measure_json({"a": {"b": "x" * 10**6}}, 50) > 50
    assert measure_json([10**4_000], 50) > 50
    assert measure_json({"a": Decimal("0." + "9" * 10**5)}, 50) > 50
