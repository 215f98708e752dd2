"""Values of CSV cells: dates, amounts, types and metadata."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Code, Refused
from app.domain.files.csv_values import (
    DateOrder,
    detect_date_order,
    parse_cell_amount,
    parse_cell_instant,
    parse_cell_type,
    parse_cell_value,
)

BERLIN = ZoneInfo("Europe/Berlin")


def code_of(refused: pytest.ExceptionInfo[Refused]) -> Code:
    return refused.value.problems[0].code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31", "2026-01-30T23:00:00"),
        ("2026-07-31", "2026-07-30T22:00:00"),
        ("20260131", "2026-01-30T23:00:00"),
        ("2026/1/31 9:05", "2026-01-31T08:05:00"),
        ("31.01.2026", "2026-01-30T23:00:00"),
        ("31.1.26 09:30", "2026-01-31T08:30:00"),
        ("01/31/2026", "2026-01-30T23:00:00"),
        ("31/01/2026 14:05:06", "2026-01-31T13:05:06"),
        ("04/04/2026", "2026-04-03T22:00:00"),
        ("2026-01-31T09:30:00Z", "2026-01-31T09:30:00"),
        ("2026-01-31 09:30:00.5+02:00", "2026-01-31T07:30:00.500"),
        ("2026-01-31 09:30:00 -0530", "2026-01-31T15:00:00"),
        ("1767225600", "2026-01-01T00:00:00"),
        ("1767225600.25", "2026-01-01T00:00:00.250"),
        ("1767225600123", "2026-01-01T00:00:00.123"),
        ("Jan 31, 2026", "2026-01-30T23:00:00"),
        ("31 January 2026 10:00 PM", "2026-01-31T21:00:00"),
        ("1/31/2026 12:30 am", "2026-01-30T23:30:00"),
        ("1/31/99", "1999-01-30T23:00:00"),
    ],
)
def test_dates_are_parsed_in_common_formats(text: str, expected: str) -> None:
    assert parse_cell_instant(text, BERLIN, None) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "soon", "2026-02-30", "31/31/2026", "12:30", "2026", "45000", "1 Foo 2026", "9" * 80]
)
def test_text_that_is_no_date_is_rejected(text: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_cell_instant(text, BERLIN, DateOrder.DMY)
    assert code_of(refused) is Code.INVALID


def test_ambiguous_date_needs_an_order() -> None:
    with pytest.raises(Refused):
        parse_cell_instant("03/04/2026", ZoneInfo("UTC"), None)
    read = {order: parse_cell_instant("03/04/2026", ZoneInfo("UTC"), order) for order in DateOrder}
    assert (read[DateOrder.DMY].month, read[DateOrder.MDY].month) == (4, 3)


def test_order_of_dates_is_detected_from_unambiguous_dates() -> None:
    assert detect_date_order(["03/04/2026", "13/04/2026"]) is DateOrder.DMY
    assert detect_date_order(["03/04/2026", "04/13/2026"]) is DateOrder.MDY
    assert detect_date_order(["03/04/2026"]) is None
    assert detect_date_order(["13/04/2026", "04/13/2026"]) is None


@pytest.mark.parametrize(
    ("text", "amount", "currency"),
    [
        ("29.33", "29.33", None),
        ("1,234.50", "1234.50", None),
        ("1,234", "1234", None),
        ("1,234,567.8", "1234567.8", None),
        ("$12.00", "12.00", None),
        ("US$ 12", "12", "USD"),
        ("€1.234,50", "1234.50", "EUR"),
        ("12,50 €", "12.50", "EUR"),
        ("1.234.567", "1234567", None),
        ("1 234,50", "1234.50", None),
        ("1'000.00", "1000.00", None),
        ("GBP 7", "7", "GBP"),
        ("-$3", "-3", None),
        ("(12.00)", "-12.00", None),
        ("12.00-", "-12.00", None),
        (".5", "0.5", None),
        ("0", "0", None),
    ],
)
def test_amounts_are_parsed_exactly(text: str, amount: str, currency: str | None) -> None:
    found, found_currency = parse_cell_amount(text, "USD")
    assert (str(found), found_currency) == (str(Decimal(amount)), currency)


@pytest.mark.parametrize(
    "text", ["", "free", "1.2.3", "12,3456", "1e3", "12 points", "NaN", "--1", "1 2", "€$5", "9" * 80]
)
def test_text_that_is_no_amount_is_rejected(text: str) -> None:
    with pytest.raises(Refused):
        parse_cell_amount(text, "USD")


def test_dollar_sign_does_not_match_another_currency() -> None:
    assert parse_cell_amount("$5", "CAD") == (Decimal(5), None)
    with pytest.raises(Refused):
        parse_cell_amount("$5", "EUR")


@given(st.decimals(min_value=0, max_value=10**12, places=2, allow_nan=False, allow_infinity=False))
def test_grouping_does_not_change_an_amount(value: Decimal) -> None:
    for text in (f"{value}", f"{value:,}", f"{value:,}".translate({44: 46, 46: 44})):
        assert parse_cell_amount(text, "USD")[0] == value


@given(st.text(max_size=80))
def test_any_text_is_parsed_or_rejected(text: str) -> None:
    for parse in (
        lambda: parse_cell_amount(text, "USD"),
        lambda: parse_cell_instant(text, BERLIN, None),
        lambda: parse_cell_value(text),
        lambda: parse_cell_type(text),
    ):
        try:
            parse()
        except Refused:
            continue


def test_metadata_is_a_number_only_if_the_text_can_be_nothing_else() -> None:
    assert [parse_cell_value(text) for text in ("12", "-3.50", "0", "0.5")] == [12, -3.5, 0, 0.5]
    for text in ("007", "1e5", "-0", "-0.00", "1,5", "", "12a", "9" * 16, ".5", "1.", "٣"):
        assert parse_cell_value(text) == text


def test_event_type_is_recognized_in_any_spelling() -> None:
    assert [parse_cell_type(text) for text in ("Purchase", "CHECK-IN", "App open", "Big Sale")] == [
        "purchase",
        "check_in",
        "app_open",
        "Big_Sale",
    ]
