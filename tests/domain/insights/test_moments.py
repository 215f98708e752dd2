"""Moments: which are activities of the customer, and what they add to the spend."""

from __future__ import annotations

from decimal import Decimal

from .moments import START_MS, moment


def test_made_event_is_an_activity_only_if_its_type_is_named() -> None:
    made, recorded = moment("p", START_MS, "point_add"), moment("p", START_MS, "visit")
    assert [each.is_activity(()) for each in (made, recorded)] == [False, True]
    assert [each.is_activity(["point_add"]) for each in (made, recorded)] == [True, False]


def test_spend_counts_transactions_of_one_currency_and_subtracts_refunds() -> None:
    assert moment("p", START_MS, "purchase", "10.50").spend_in("EUR") == Decimal("10.50")
    assert moment("p", START_MS, "refund", "4").spend_in("EUR") == Decimal(-4)
    assert moment("p", START_MS, "checkout_increased", "3").spend_in("EUR") == Decimal(3)
    assert moment("p", START_MS, "purchase", "10.50").spend_in("USD") == 0
    assert moment("p", START_MS, "visit").spend_in("EUR") == 0
