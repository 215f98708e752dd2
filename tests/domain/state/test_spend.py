"""Spend: one definition for statistics, aggregations and sums of segments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest

from app.domain.events.events import RULE_CHANNEL, TYPES, Category, Event, Origin
from app.domain.events.spend import GROSS_SIGNS, NET_SIGNS
from app.domain.state.aggregates import fold_events
from app.domain.state.aggregations import AMOUNT, Aggregation, Function
from app.domain.state.from_rows import from_aggregates
from app.domain.state.measures import EventFilter, Measure, Total, build_measure
from app.domain.state.spend import SpendPart, SpendRow, sum_spend
from app.domain.state.statistics import build_statistics
from app.domain.values.decimals import ZERO
from tests.domain.state.test_statistics import event
from tests.grouping import aggregate_groups

KINDS = (
    "purchase", "refund", "payment", "charge", "credit", "checkout", "checkout_update", "checkout_reject",
    "checkout_increased", "checkout_decreased", "gift_balance_added", "gift_balance_spent", "redemption", "visit", "dues",
)  # fmt: skip
SIGNS = {"refund": -1, "credit": -1, "checkout_decreased": -1}


def random_events(random: Random) -> Iterator[Event]:
    for number in range(1, 29):
        kind = random.choice(KINDS)
        category = random.choice((Category.TRANSACTION, Category.CUSTOM))
        amount = random.choice((None, "0", "0.10", "12.345678", "80"))
        made = event(number, kind, amount, random.choice(("EUR", "JPY")), category)
        if kind.startswith("checkout_") and kind.endswith("creased"):
            yield replace(made, category=Category.TRANSACTION, origin=Origin("INTERNAL"))
        else:
            yield replace(made, origin=Origin(random.choice(("API", RULE_CHANNEL))))


def sum_of(events: Sequence[Event], *, gross: bool = False) -> Decimal:
    groups = aggregate_groups(Aggregation(Function.SUM, AMOUNT, gross=gross), events)
    return (groups[0].value or ZERO) if groups else ZERO


@pytest.mark.parametrize("seed", range(40))
def test_statistics_aggregations_and_segments_agree_on_spend(seed: int) -> None:
    """The expected net spend is plain arithmetic over the events, by the sentence in the module of spend."""
    events = list(random_events(Random(seed)))
    made = [each for each in events if each.is_made]
    recorded = [each for each in events if not each.is_made]
    statistics = build_statistics(fold_events({}, recorded), made=fold_events({}, made))
    for row in statistics.spend:
        spent = [each for each in events if each.category is Category.TRANSACTION and each.currency == row.currency]
        net = sum((SIGNS.get(each.type, 1) * (each.amount or ZERO) for each in spent), ZERO)
        assert row.net == net == row.gross - row.refunded
        assert sum_of(spent) == net
        assert sum_of(spent, gross=True) == row.gross + row.refunded
        measure = Measure(EventFilter(categories=(Category.TRANSACTION,), currency=row.currency), AMOUNT)
        for state in (
            build_measure(measure, events, 0),
            from_aggregates(measure, fold_events({}, recorded), fold_events({}, made)),
        ):
            assert (state.value if isinstance(state, Total) else ZERO) == net


def test_new_totals_of_checkouts_add_nothing_to_any_sum_of_amounts() -> None:
    events = [
        event(1, "checkout", "100"),
        event(2, "checkout_update", "80"),
        replace(event(3, "checkout_decreased", "20"), category=Category.TRANSACTION),
        event(4, "refund", "5"),
    ]
    for gross, expected in ((False, 75), (True, 85)):
        assert sum_of(events, gross=gross) == expected
    measure = Measure(EventFilter(), AMOUNT)
    assert build_measure(measure, events, 0) == Total(Decimal(75))
    assert from_aggregates(measure, fold_events({}, events), {}) == Total(Decimal(75))


def test_average_spend_is_for_each_order() -> None:
    [row] = sum_spend([SpendPart("purchase", "EUR", Decimal(10), count=3, is_transaction=True)])
    assert row.average == Decimal("3.333333")
    assert SpendRow("EUR", net=Decimal(5)).average is None


def test_every_type_with_a_sign_of_its_own_is_built_in_or_made_by_a_walk() -> None:
    assert {kind: sign for kind, sign in NET_SIGNS.items() if sign == -1} == SIGNS
    assert set(NET_SIGNS) - set(TYPES) == {"checkout_decreased"}
    assert set(NET_SIGNS) - set(GROSS_SIGNS) == {"refund", "credit"}
