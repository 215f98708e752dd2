"""Numbers in CSV cells: amounts, points and metadata."""

from __future__ import annotations

import contextlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Code, Refused
from app.domain.files.csv_numbers import (
    DecimalMark,
    can_be_amount,
    currency_code,
    detect_decimal_mark,
    keep_digits,
    parse_cell_amount,
    parse_cell_number,
    repeat_value,
)

POINT, COMMA = DecimalMark.POINT, DecimalMark.COMMA


@pytest.mark.parametrize(
    ("text", "amount", "currency"),
    [
        ("29.33", "29.33", None),
        ("1,234.50", "1234.50", None),
        ("1,234,567", "1234567", None),
        ("1,234,567.8", "1234567.8", None),
        ("1,23,456.78", "123456.78", None),
        ("12,34,56,789", "123456789", None),
        ("$12.00", "12.00", None),
        ("$.50", "0.50", None),
        ("US$ 12", "12", "USD"),
        ("€1.234,50", "1234.50", "EUR"),
        ("12,50 €", "12.50", "EUR"),
        ("R$ 12,50", "12.50", "BRL"),
        ("12,50 Kč", "12.50", "CZK"),
        ("1.234.567", "1234567", None),
        ("1 234,50", "1234.50", None),
        ("1\u202f234,567", "1234.567", None),
        ("1'000.00", "1000.00", None),
        ("1\u2019234\u2019567.5", "1234567.5", None),
        ("GBP 7", "7", "GBP"),
        ("-$3", "-3", None),
        ("\u22123.50", "-3.50", None),
        ("€\u22123,50", "-3.50", "EUR"),
        ("(12.00)", "-12.00", None),
        ("12.00-", "-12.00", None),
        ("12.00\u2212", "-12.00", None),
        (".5", "0.5", None),
        (",5", "0.5", None),
        ("0", "0", None),
        ("0,125", "0.125", None),
        ("0,500", "0.500", None),
        ("00,125", "0.125", None),
        ("0.125", "0.125", None),
        ("0,1234", "0.1234", None),
        ("1234,567", "1234.567", None),
        ("1234.567", "1234.567", None),
        ("12.3456", "12.3456", None),
    ],
)
def test_amounts_are_parsed_exactly(text: str, amount: str, currency: str | None) -> None:
    found, found_currency = parse_cell_amount(text, "USD")
    assert (str(found), found_currency) == (str(Decimal(amount)), currency)


@pytest.mark.parametrize(
    "text",
    [
        "", "free", "1.2.3", "12,3456", "1e3", "12 points", "NaN", "--1", "1 2", "€$5", "9" * 80, "0,125.50", "0.125,50",
        "00,125,000", "1,23,45", "1,2345.00", "1,234 567", "12.", "EUR.50", "5 kr", "¥5", "\u0663",
    ],
)  # fmt: skip
def test_text_that_is_no_amount_is_rejected(text: str) -> None:
    for mark in (None, *DecimalMark):
        if (text, mark) != ("12,3456", COMMA):
            with pytest.raises(Refused):
                parse_cell_amount(text, "USD", mark=mark)


@pytest.mark.parametrize(("text", "point", "comma"), [
    ("1,234", "1234", "1.234"),
    ("1.234", "1.234", "1234"),
    ("-12,500 €", "-12500", "-12.500"),
    ("999.001", "999.001", "999001"),
])  # fmt: skip
def test_amount_with_two_readings_needs_a_decimal_mark(text: str, point: str, comma: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_cell_amount(text, "EUR", "amount")
    [problem] = refused.value.problems
    assert (problem.code, problem.field) == (Code.INVALID, ("amount",))
    assert text.strip() in problem.message
    assert "decimalMark" in problem.message
    read = [str(parse_cell_amount(text, "EUR", mark=mark)[0]) for mark in DecimalMark]
    assert read == [point, comma]


@pytest.mark.parametrize(("text", "mark"), [("12,50", POINT), ("12.50", COMMA), ("0,125", POINT), ("1,234,567", COMMA)])
def test_amount_that_contradicts_the_mark_of_the_file_is_rejected(text: str, mark: DecimalMark) -> None:
    with pytest.raises(Refused) as refused:
        parse_cell_amount(text, "USD", mark=mark)
    assert f"the file has a decimal {mark.lower()}" in refused.value.problems[0].message


def test_decimal_mark_is_detected_from_numbers_with_one_reading() -> None:
    assert detect_decimal_mark(["1,234", "12.50"]) is POINT
    assert detect_decimal_mark(["1,234", "0,125"]) is COMMA
    assert detect_decimal_mark(["1,234,567", "5"]) is POINT
    assert detect_decimal_mark(["€ 1.234,5", "x", ""]) is COMMA
    assert detect_decimal_mark(["1,234", "1.234", "5", "1 234"]) is None
    assert detect_decimal_mark(["12.50", "12,50"]) is None
    assert detect_decimal_mark(["0,125", "0,500", "1,234.50"]) is POINT
    assert detect_decimal_mark(["0.125", "7,25"]) is COMMA
    assert detect_decimal_mark(["0.125", "0,125"]) is None


@pytest.mark.parametrize(("mark", "currencies"), [
    ("$", "USD CAD AUD MXN"),
    ("kr", "SEK NOK DKK ISK"),
    ("kr.", "DKK"),
    ("Rs.", "INR PKR"),
    ("¥", "JPY CNY"),
])  # fmt: skip
def test_mark_of_several_currencies_needs_one_of_them_as_default(mark: str, currencies: str) -> None:
    for currency in currencies.split():
        assert parse_cell_amount(f"{mark}500", currency) == (Decimal(500), None)
        assert parse_cell_amount(f"500 {mark}", currency) == (Decimal(500), None)
    with pytest.raises(Refused):
        parse_cell_amount(f"{mark}5", "EUR")


def test_number_of_points_has_no_currency() -> None:
    assert parse_cell_number("-1 234,5", mark=COMMA) == Decimal("-1234.5")
    for text in ("5 €", "$5", "EUR 5", "lots"):
        with pytest.raises(Refused):
            parse_cell_number(text)


@given(st.decimals(min_value=0, max_value=10**12, places=2, allow_nan=False, allow_infinity=False))
def test_grouping_does_not_change_an_amount(value: Decimal) -> None:
    for text in (f"{value}", f"{value:,}", f"{value:,}".translate({44: 46, 46: 44})):
        assert parse_cell_amount(text, "USD")[0] == value


@given(
    st.text(max_size=80) | st.text(alphabet="0123456789.,' -()€kr", max_size=20), st.sampled_from([None, POINT, COMMA])
)
def test_any_text_is_parsed_or_rejected(text: str, mark: DecimalMark | None) -> None:
    with contextlib.suppress(Refused):
        parse_cell_amount(text, "USD", mark=mark)
        assert can_be_amount(text, "USD")
    repeat_value(text)
    kept = keep_digits(text)
    assert str(kept) == text


def test_metadata_is_a_number_only_if_the_number_keeps_the_digits() -> None:
    assert [keep_digits(text) for text in ("12", "-3.5", "0", "0.5", "123456789012345")] == [
        12,
        -3.5,
        0,
        0.5,
        123456789012345,
    ]
    for text in (
        "1.10", "2.50", "10.0", "007", "1e5", "-0", "-0.00", "1,5", "", "12a", "9" * 16, ".5", "1.", "٣", "0.000001",
        "123456789012345.123456",
    ):  # fmt: skip
        assert keep_digits(text) == text


def test_repeat_of_a_metadata_cell_is_recognized_by_its_number() -> None:
    """Files that an earlier version imported stay repeats: it stored any plain number as a number."""
    assert [repeat_value(text) for text in ("12", "-3.50", "1.10", "0", "007")] == [12, -3.5, 1.1, 0, "007"]


def test_currency_cell_is_a_code_or_the_mark_of_one_currency() -> None:
    assert [currency_code(text) for text in ("eur", "€", "R$", "kr")] == ["EUR", "EUR", "BRL", "KR"]
