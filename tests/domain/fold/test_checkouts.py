"""Checkouts in the walk, whatever counts first."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from app.domain.events.events import CHECKOUT_UPDATE, Category
from app.domain.rules.triggers import EventTrigger

from .rule_walks import RuleSimulation, defined, per_dollar, refund, rule
from .test_advance import START, purchase_event


def test_update_of_a_checkout_waits_until_the_checkout_counts() -> None:
    """A fold takes a part of many pending events, and a correction may be dated before what it corrects."""
    simulation = RuleSimulation(
        defined(rule("points", per_dollar(), trigger=EventTrigger(("checkout",), currency="USD")))
    )
    order = replace(purchase_event(2, START + 9, Decimal(10)), type="checkout")
    update = replace(refund(1, START + 5, 25, order), type=CHECKOUT_UPDATE, category=Category.ACTIVITY)
    simulation.pending = [update, order]
    simulation.fold(START + 9, limit=1)
    assert update.id not in [event.id for event in simulation.counted]
    simulation.fold_until(START + 9)
    assert [(event.type, event.amount) for event in simulation.made if event.amount] == [
        ("checkout_increased", Decimal(15))
    ]
    assert sum(simulation.given) == 25
