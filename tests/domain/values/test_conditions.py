"""What a condition means: kinds of values, lists, absent values, numbers, and operands that are refused."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Code, InvalidInput
from app.domain.values.conditions import (
    CONDITION_OPERATORS,
    POSITIVE,
    Condition,
    Operator,
    make_path_test,
    parse_metadata_condition,
)
from app.domain.values.decimals import read_number
from app.domain.values.path_values import PathValues
from app.domain.values.paths import find_value, iter_numbers, iter_values, split_keys, split_path


def condition(path: str, operator: str, value: object = None) -> Condition:
    return parse_metadata_condition({"path": path, "operator": operator, "value": value})


@pytest.mark.parametrize(
    ("operator", "operand", "matching", "others"),
    [
        ("EQ", 10, [10, 10.0, [10], ["a", 10]], ["10", "010", True, None, [[10]], {"a": 10}, 11]),
        ("EQ", "10", ["10", ["a", "10"]], [10, "010", "10.0", None]),
        ("EQ", True, [True, [True, 0]], [1, "true", False, None]),
        ("EQ", 1, [1, 1.0], [True, "1"]),
        ("EQ", 0.1, [0.1], [0.10000000000000002, "0.1"]),
        ("NE", 10, ["10", None, [], [11], True], [10, [11, 10]]),
        ("GT", 9, [10, 9.000000000000002, 1e300, [1, 10]], ["10", 9, True, None, []]),
        ("GTE", 12345678.1234567, [12345678.1234567], [12345678.1234566]),
        ("LT", "b", ["a", "", ["z", "a"]], ["b", 1, None]),
        ("LTE", 0, [-0.0, 0, -5e-324], [5e-324, "0"]),
        ("IN", ["gold", 7], ["gold", 7, [1, 7.0]], ["7", "Gold", None]),
        ("NOT_IN", ["gold", 7], ["7", None, []], ["gold", ["x", 7]]),
        ("CONTAINS", "star", ["northern star", ["a", "starry"]], ["Star", 5, None, {"star": 1}]),
        ("EXISTS", None, ["", 0, False, {}, ["a"], {"a": None}], [None, [], [None], [[]]]),
        ("NOT_EXISTS", None, [None, [], [None]], ["", 0, False, {}]),
    ],
)
def test_values_compare_within_their_kind(
    operator: str, operand: object, matching: list[object], others: list[object]
) -> None:
    found = condition("v", operator, operand)
    assert [value for value in matching if not found.holds({"v": value})] == []
    assert [value for value in others if found.holds({"v": value})] == []
    assert found.holds({}) is found.holds({"v": None})


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("items.sku", ["a", "b"]),
        ("items.0.sku", ["a"]),
        ("items.1.tags", ["x", "y"]),
        ("items.tags", ["x", "y"]),
        ("items.1.tags.2", ["y"]),
        ("items.tags.0", ["x"]),
        ("items.02.sku", []),
        ("items.9.sku", []),
        ("items.0", [{"sku": "a", "tags": []}]),
        ("grid", []),
        ("grid.0", [1, 2]),
        ("grid.0.1", [2]),
        ("mixed.0", [{"0": "in"}, "in"]),
        ("none", []),
        ("note.deep", []),
        ("a..note", []),
        (".note.", ["n"]),
    ],
)
def test_step_goes_through_a_list_or_names_one_element(path: str, values: list[object]) -> None:
    document = {
        "items": [{"sku": "a", "tags": []}, {"sku": "b", "tags": ["x", None, "y"]}, "text", None],
        "grid": [[1, 2], [3]],
        "mixed": [{"0": "in"}],
        "none": None,
        "note": "n",
    }
    assert list(iter_values(document, split_path(path))) == values


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0.30000000000000004, "0.30000000000000004"), (12345678.1234567, "12345678.1234567"), (7, "7"), (-0.0, "0"),
        ("2.50", "2.50"), ("010", "10"), ("1e3", "1E+3"), (5e-324, "5E-324"), (1e300, "1E+300"), (".5", "0.5"),
        ("1,5", None), ("gold", None), ("", None), (" 1", None), ("1_0", None), ("١", None), ("NaN", None),
        ("Infinity", None), ("1e999", None), ("1" * 65, None), (True, None), (None, None), ([1], None),
    ],
)  # fmt: skip
def test_number_is_read_exactly_or_not_at_all(value: object, number: str | None) -> None:
    assert read_number(value) == (None if number is None else Decimal(number))


def test_numbers_of_all_elements_are_found() -> None:
    document = {"lines": [{"sum": 1.5}, {"sum": "2.25"}, {"sum": [3, "x", None]}, {}]}
    assert list(iter_numbers(document, ("lines", "sum"))) == [Decimal("1.5"), Decimal("2.25"), Decimal(3)]


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ({"utm.source": "mail"}, {"utm": {"source": "mail"}}),
        ({"utm": {"medium": "m"}, "utm.source": "mail"}, {"utm": {"medium": "m", "source": "mail"}}),
        ({"a": 5, "a.b": 1}, {"a": [5, {"b": 1}]}),
        ({"a.b": 1, "a": {"b": 2}}, {"a": {"b": [1, 2]}}),
        ({"a": None, "a.b": 1}, {"a": {"b": 1}}),
        ({"list": [{"x.y": 1}]}, {"list": [{"x": {"y": 1}}]}),
        ({"Mr.": 1, ".b..c": 2}, {"Mr": 1, "b": {"c": 2}}),
    ],
)
def test_point_in_a_key_separates_levels(sent: dict[str, object], read: dict[str, object]) -> None:
    assert split_keys(sent) == read


def test_object_without_points_is_not_copied() -> None:
    document = {"a": {"b": [{"c": 1}]}}
    assert split_keys(document) is document


def test_mapping_prefers_the_name_with_points() -> None:
    assert find_value({"a": {"b": 1}, "a.b": 2}, ("a", "b")) == 2
    assert find_value({"a.b": {"c": 3}}, ("a", "b", "c")) == 3
    assert find_value({"a.b": None, "a": {"b": [4]}}, ("a", "b", "0")) == 4
    assert find_value({"a": [{"b": 1}]}, ("a", "b")) is None


@pytest.mark.parametrize(
    ("raw", "code", "field"),
    [
        ({"path": "..", "value": 1}, Code.INVALID, "path"),
        ({"path": "$where", "value": 1}, Code.INVALID, "path"),
        ({"path": "a.$b", "value": 1}, Code.INVALID, "path"),
        ({"path": ".".join("abcdefghijk"), "value": 1}, Code.INVALID, "path"),
        ({"path": "a", "operator": "GT", "value": True}, Code.INVALID, "value"),
        ({"path": "a", "value": None}, Code.REQUIRED, "value"),
        ({"path": "a", "value": 2**53 + 1}, Code.OUT_OF_RANGE, "value"),
        ({"path": "a", "value": Decimal("1e400")}, Code.INVALID, "value"),
        ({"path": "a", "value": {"b": 1}}, Code.INVALID, "value"),
        ({"path": "a", "operator": "CONTAINS", "value": 1}, Code.INVALID, "value"),
    ],
)
def test_condition_that_can_never_hold_is_refused(raw: dict[str, object], code: Code, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_metadata_condition(raw, "metadata", "0")
    assert [(p.code, p.field) for p in refused.value.problems] == [(code, ("metadata", "0", field))]


def test_number_with_many_digits_equals_the_same_digits_of_metadata() -> None:
    digits = Decimal("0.12345678901234567890")
    assert condition("v", "EQ", digits).holds({"v": float(digits)})


VALUES = st.lists(
    st.sampled_from(["", "a", "ab", "10", True, False, 0, 1, 1.0, -0.0, 9.5, 1e300, 2**53, {"a": 1}]), max_size=8
)
OPERANDS = st.sampled_from(["", "a", "b", "10", True, False, 0, 1, 9.5, 1e300])


@given(
    VALUES,
    st.sampled_from(CONDITION_OPERATORS),
    st.lists(OPERANDS, min_size=1, max_size=3),
)
def test_condition_over_many_values_holds_if_it_holds_for_one_of_them(
    values: list[object], operator: Operator, operands: list[object]
) -> None:
    """Long lists are prepared once for many conditions, which must not change the result."""
    raw: object = operands if operator in (Operator.IN, Operator.NOT_IN) else operands[0]
    try:
        found = condition("v", operator.value, raw)
    except InvalidInput:
        return
    expected = found.holds({"v": values})
    assert found.holds_for(PathValues(values)) is expected
    assert make_path_test(operator, found.value)(PathValues(values)) is (expected != (operator in POSITIVE))
