"""Corrections: what they may contain, and which values they take from the original event."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from app.domain.errors import Code, InvalidInput, Refused
from app.domain.events.corrections import apply_correction
from app.domain.events.events import Category, Event, EventInput, Origin
from app.domain.events.guards import Outcome, OutcomeStatus
from app.domain.events.validation import Draft, ValidationRules, validate_event
from app.domain.values.decimals import ZERO

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def original(kind: str = "purchase", amount: int | None = 50, category: Category = Category.TRANSACTION) -> Event:
    currency = None if amount is None else "EUR"
    sum_ = None if amount is None else Decimal(amount)
    return Event(
        "event_1",
        "pass_1",
        category,
        type=kind,
        amount=sum_,
        currency=currency,
        points=ZERO,
        source="api",
        external_id=None,
        metadata={},
        occurred_at=NOW,
        recorded_at=NOW,
        origin=Origin("API"),
    )


def draft(kind: str, **sent: object) -> Draft:
    return validate_event(
        EventInput(type=kind, pass_id="pass_1", correction_of="event_1", **sent), ValidationRules(NOW, "USD")
    )


@pytest.mark.parametrize(
    ("kind", "sent", "of", "amount", "currency"),
    [
        # Without an amount, the walk takes what is left.
        ("refund", {}, original(), None, "EUR"),
        ("credit", {}, original("charge"), None, "EUR"),
        ("charge", {}, original("refund"), None, "EUR"),
        ("refund", {"amount": 20}, original(), 20, "EUR"),  # A1-10: checkout_update lowers the amount.
        ("charge", {"amount": 70}, original(), 70, "EUR"),  # A1-10: checkout_update raises the amount.
        ("refund", {"amount": 50, "currency": "EUR"}, original(), 50, "EUR"),
        ("refund", {"amount": 5}, original(amount=None), 5, "USD"),
        ("refund", {}, original(amount=None), None, None),
        ("charge", {}, original(), None, None),
        ("refund", {}, original("refund"), None, None),
        ("visit", {}, original(), None, None),
        ("refund", {"amount": 60}, original("fee", 50, Category.CUSTOM), 60, "EUR"),
    ],
)
def test_correction_takes_missing_values_from_the_original(
    kind: str, sent: dict[str, object], of: Event, amount: int | None, currency: str | None
) -> None:
    """A1-10, WH2-21."""
    counted = apply_correction(draft(kind, **sent), of)
    assert (counted.amount, counted.currency) == (amount, currency)
    assert counted.points == 0


def test_correction_of_a_declined_event_is_refused_and_a_checkout_may_be_raised() -> None:
    declined = replace(original(), outcome=Outcome(OutcomeStatus.DECLINED))
    with pytest.raises(InvalidInput) as refused:
        apply_correction(draft("refund"), declined)
    assert [(problem.code, problem.field) for problem in refused.value.problems] == [
        (Code.NOT_COUNTED, ("correctionOf",))
    ]
    assert apply_correction(draft("refund", amount=60), original("checkout")).amount == 60


@pytest.mark.parametrize(
    ("kind", "sent", "of", "code", "field"),
    [
        ("refund", {"amount": "50.01"}, original(), Code.OUT_OF_RANGE, "amount"),
        ("charge", {"amount": 51}, original("credit"), Code.OUT_OF_RANGE, "amount"),
        ("refund", {"amount": 5, "currency": "USD"}, original(), Code.INVALID, "currency"),
        ("refund", {"currency": "USD"}, original(), Code.INVALID, "currency"),
        ("refund", {"amount": 5}, None, Code.UNKNOWN, "correctionOf"),
        ("refund", {"amount": 5}, original("pass_updated", None), Code.UNKNOWN, "correctionOf"),
    ],
)
def test_correction_that_contradicts_the_original_is_rejected_with_the_path(
    kind: str, sent: dict[str, object], of: Event | None, code: Code, field: str
) -> None:
    """A1-10: a correction stays within the amount of its original."""
    with pytest.raises(Refused) as refused:
        apply_correction(draft(kind, **sent), of)
    assert [(p.code, p.field) for p in refused.value.problems] == [(code, (field,))]
