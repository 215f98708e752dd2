"""Figures are shown as an owner reads them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from app.cli.reports.figures import Figure, shorten, show


@pytest.mark.parametrize(
    ("value", "currency", "text"),
    [
        ("1234567", None, "1,234,567"),
        ("1234.5", "EUR", "1,234.50 EUR"),
        ("1234.565", "EUR", "1,234.56 EUR"),
        ("-0.001", "EUR", "0.00 EUR"),
        ("1234", "JPY", "1,234 JPY"),
        ("1.2345", "BHD", "1.234 BHD"),
        ("1.2345", "XAU", "1.2345 XAU"),
        ("123456789012345678901234567890.12", "USD", "123,456,789,012,345,678,901,234,567,890.12 USD"),
    ],
)
def test_numbers_have_thousands_and_amounts_the_places_of_their_currency(
    value: str, currency: str | None, text: str
) -> None:
    assert show(Decimal(value), currency) == text


@pytest.mark.parametrize(
    ("value", "before", "change", "direction"),
    [
        ("150", "100", "+50 %", "up"),
        ("97.3", "100", "-2.7 %", "down"),
        ("5", "5", "±0 %", "same"),
        ("5", "0", "–", "up"),
        ("0", "5", "-100 %", "down"),
        ("5", "-5", "–", "up"),
        ("125000", "10", "+1,249,900 %", "up"),
    ],
)
def test_a_change_is_in_percent_of_the_month_before(value: str, before: str, change: str, direction: str) -> None:
    figure = Figure("Revenue", Decimal(value), Decimal(before), currency="EUR")
    assert (figure.change, figure.direction) == (change, direction)


def test_an_average_without_orders_has_no_value_and_no_change() -> None:
    figure = Figure("Average order", None, Decimal(5), currency="EUR")
    assert (figure.text, figure.text_before, figure.change, figure.direction) == ("–", "5.00 EUR", "–", "same")
    assert Figure("Average order", Decimal(5), None, currency="EUR").change == "–"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"), (999, "999"), (1_000, "1.0k"), (9_949, "9.9k"), (9_950, "10k"), (999_499, "999k"), (999_500, "1.0M"),
        (12_345_678, "12M"), (5_000_000_000, "5,000M"),
    ],
)  # fmt: skip
def test_counts_of_hours_are_short(number: int, text: str) -> None:
    assert shorten(number) == text
