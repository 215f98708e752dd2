"""Dimensions: rows by the values of an attribute, and which contents may claim to hold them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.events.events import Category
from app.domain.rollups.building import build_content
from app.domain.rollups.dimensions import (
    MAX_VALUE_CHARACTERS,
    Dimension,
    Incomplete,
    ValueRows,
    claimed,
    dimension_of,
    holds,
    is_dimension,
    row_by_value,
    rows_by_values,
)
from app.domain.rollups.levels import Level
from app.domain.rollups.rows import CountedRow, RowKey, Totals
from app.domain.values.conditions import Condition, Operator
from app.domain.values.instants import to_ms

AT_MS = to_ms(datetime(2024, 2, 1, tzinfo=UTC))
CITY = Dimension("purchase", "store.city")
SALE = CountedRow(
    AT_MS, "purchase", RowKey("till", Category.TRANSACTION, "EUR", made=False), totals=Totals(1, Decimal(5))
)
texts = st.text(alphabet="a#|1.", min_size=1, max_size=6)


@given(texts, texts, texts, texts)
def test_the_kind_of_a_dimension_names_its_type_and_path_and_nothing_else(a: str, b: str, c: str, d: str) -> None:
    one, other = Dimension(a, b), Dimension(c, d)
    assert dimension_of(one.kind) == one
    assert is_dimension(one.kind)
    assert not is_dimension("purchase")
    assert (one.kind == other.kind) == (one == other)


@pytest.mark.parametrize(
    ("metadata", "value"),
    [
        ({"store": {"city": "Bonn"}}, '"Bonn"'),
        ({"store": [{"city": "Bonn"}, {"city": "Bonn"}]}, '"Bonn"'),
        ({"store": {"city": 10.0}}, "10"),
        ({"store": {"city": {"name": "Bonn"}}}, None),
        (None, None),
    ],
)
def test_each_event_has_one_row_of_a_dimension(metadata: object, value: str | None) -> None:
    found = row_by_value(SALE, CITY, metadata, ("store", "city"))
    key = RowKey(None, Category.TRANSACTION, "EUR", made=False, dimension="store.city", value=value)
    assert found == CountedRow(AT_MS, CITY.kind, key, totals=SALE.totals)


@pytest.mark.parametrize("city", [["Bonn", "Köln"], "x" * MAX_VALUE_CHARACTERS])
def test_an_event_with_several_values_or_a_long_one_has_no_row(city: object) -> None:
    assert row_by_value(SALE, CITY, {"store": {"city": city}}, ("store", "city")) is None


def test_a_question_counts_an_event_by_each_value_or_once_if_it_meets_the_condition() -> None:
    metadata = {"store": {"city": ["Bonn", "Köln", "Aachen"]}}

    def values(condition: Condition | None) -> list[str | None]:
        return [row.key.value for row in rows_by_values(SALE, CITY, metadata, condition)]

    assert values(None) == ['"Aachen"', '"Bonn"', '"Köln"']
    assert values(Condition("store.city", Operator.IN, ("Köln", "Bonn"))) == ['"Bonn"']
    assert values(Condition("store.city", Operator.EQ, "Trier")) == []


def test_a_content_claims_a_dimension_only_if_each_part_with_its_type_does() -> None:
    size = Dimension("visit", "size")
    incomplete = Incomplete()
    incomplete.compare([["purchase", CITY.kind], ["visit", size.kind], ["purchase", "visit", size.kind]])
    assert incomplete.kinds == {CITY.kind}
    assert holds(CITY, ["visit"], [])
    assert not holds(CITY, ["purchase"], [size.kind])


def test_rows_of_a_dimension_end_with_the_value_that_is_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.domain.rollups.dimensions.MAX_VALUES", 2)
    rows = ValueRows({CITY: ("store", "city")})
    numbers = [[row.key.value for row in rows.rows(SALE, {"store": {"city": city}})] for city in (1, None, 2, 1, 3, 1)]
    assert numbers == [["1"], [None], ["2"], ["1"], ["3"], []]
    assert list(rows.rows(SALE, {"store": {"city": [1, 2]}})) == []
    assert rows.incomplete.kinds == {CITY.kind}


def test_a_content_with_too_many_values_does_not_claim_the_dimension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.domain.rollups.dimensions.MAX_VALUES", 2)
    rows = [row_by_value(SALE, CITY, {"store": {"city": number}}, ("store", "city")) for number in (1, 2)]
    rows.append(row_by_value(SALE, CITY, {}, ("store", "city")))
    content = build_content([SALE, *filter(None, rows)], Level.HOUR)
    assert claimed(content, ()) == (content, [])
    assert list(claimed(content, {CITY.kind})[0]) == ["purchase"]
    more = row_by_value(SALE, CITY, {"store": {"city": 3}}, ("store", "city"))
    assert more is not None
    found, overflowing = claimed(build_content([SALE, more, *filter(None, rows)], Level.HOUR), ())
    assert (list(found), overflowing) == (["purchase"], [CITY])
