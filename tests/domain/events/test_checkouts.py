"""Totals of checkouts: given as an amount, by the metadata, or by its items."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from app.domain.errors import Code, Problem
from app.domain.events.checkouts import find_checkout_problems, find_total


@pytest.mark.parametrize(
    ("metadata", "total"),
    [
        ({}, None),
        ({"total": "12.50", "items": [{"price": 1}]}, "12.50"),
        ({"items": [{"price": "2.50", "quantity": 3}, {"amount": "1.25", "price": 99}, {"price": 1}]}, "9.75"),
        ({"items": []}, None),
    ],
)
def test_total_is_that_of_the_metadata_else_the_sum_of_the_items(metadata: Any, total: str | None) -> None:
    problems: list[Problem] = []
    assert find_total("checkout", metadata, problems) == (None if total is None else Decimal(total))
    assert problems == []


@pytest.mark.parametrize(
    ("metadata", "path"),
    [
        ({"total": "many"}, ("metadata", "total")),
        ({"items": {"price": 1}}, ("metadata", "items")),
        ({"items": "2 coffees"}, ("metadata", "items")),
        ({"items": [{"price": 1}, {"sku": "A"}]}, ("metadata", "items", "1", "price")),
        ({"items": [{"price": 1, "quantity": "two"}]}, ("metadata", "items", "0", "quantity")),
        ({"items": [{"price": "0.000001", "quantity": "0.5"}]}, ("metadata", "items")),
    ],
)
def test_total_that_is_no_amount_is_refused_with_its_path(metadata: Any, path: tuple[str, ...]) -> None:
    problems: list[Problem] = []
    assert find_total("checkout_update", metadata, problems) is None
    assert [problem.field for problem in problems] == [path]


def test_metadata_of_other_types_gives_no_amount() -> None:
    assert find_total("purchase", {"total": 5}, []) is None


def test_update_needs_a_total_and_a_reject_takes_none() -> None:
    update = find_checkout_problems("checkout_update", None, None)
    assert [(each.code, each.field) for each in update] == [
        (Code.REQUIRED, ("correctionOf",)),
        (Code.REQUIRED, ("amount",)),
    ]
    reject = find_checkout_problems("checkout_reject", Decimal(5), "event_1")
    assert [(each.code, each.field) for each in reject] == [(Code.INVALID, ("amount",))]
    assert find_checkout_problems("checkout", None, None) == []
