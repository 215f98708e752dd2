"""Codes of currencies."""

from __future__ import annotations

import pytest

from app.domain.errors import Code, InvalidInput
from app.domain.values.currencies import parse_currency


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("eur", "\"eur\" is no currency. Did you mean 'EUR'?"),
        (" USD ", "\" USD \" is no currency. Did you mean 'USD'?"),
        ("EURO", '"EURO" is no currency. Give a code of ISO 4217, for example "EUR".'),
        (7, '"7" is no currency. Give a code of ISO 4217, for example "EUR".'),
    ],
)
def test_currency_that_is_none_is_named_with_the_code_to_give(raw: object, message: str) -> None:
    assert parse_currency("EUR") == "EUR"
    with pytest.raises(InvalidInput) as refused:
        parse_currency(raw, "input", "currency")
    [problem] = refused.value.problems
    assert (problem.code, problem.message, problem.field) == (Code.UNKNOWN, message, ("input", "currency"))
