"""Whether a trigger matches: events by each of its fields, amounts by their bounds, and changes of the tier by their key."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from app.domain.events.events import Category
from app.domain.rules.matching import is_within, matches_event, matches_tier
from app.domain.rules.occurrences import TierChanged
from app.domain.rules.triggers import EventTrigger, TierChange, TierTrigger
from tests.domain.fold.rule_walks import rule
from tests.domain.fold.test_advance import START, purchase_event

JOINED_GOLD = TierChanged(TierChange.JOINED, None, "gold", 1, "EVENT")
FELL_TO_SILVER = TierChanged(TierChange.DOWNGRADED, "gold", "silver", 1, "TIME")
LEFT_GOLD = TierChanged(TierChange.LEFT, "gold", None, 1, "TIME")


@pytest.mark.parametrize(
    ("trigger", "matching"),
    [
        (TierTrigger(tuple(TierChange)), [JOINED_GOLD, FELL_TO_SILVER, LEFT_GOLD]),
        (TierTrigger((TierChange.JOINED,)), [JOINED_GOLD]),
        (TierTrigger(tuple(TierChange), "gold"), [JOINED_GOLD, LEFT_GOLD]),
        (TierTrigger(tuple(TierChange), "silver"), [FELL_TO_SILVER]),
        (TierTrigger((TierChange.LEFT,), "silver"), []),
    ],
)
def test_tier_of_a_trigger_is_that_after_the_change_and_of_an_exit_that_before(
    trigger: TierTrigger, matching: list[TierChanged]
) -> None:
    changes = [JOINED_GOLD, FELL_TO_SILVER, LEFT_GOLD]
    assert [changed for changed in changes if matches_tier(trigger, changed)] == matching


@pytest.mark.parametrize(
    ("low", "high", "amounts"),
    [
        (None, None, [None, 4, 5, 9, 10]),
        (5, None, [5, 9, 10]),
        (None, 9, [4, 5, 9]),
        (5, 9, [5, 9]),
    ],
)
def test_bounds_of_an_amount_are_inclusive_and_hold_no_missing_amount(
    low: int | None, high: int | None, amounts: list[int | None]
) -> None:
    def decimal(number: int | None) -> Decimal | None:
        return None if number is None else Decimal(number)

    found = [each for each in (None, 4, 5, 9, 10) if is_within(decimal(low), decimal(high), decimal(each))]
    assert found == amounts


def test_event_matches_if_each_field_of_the_trigger_names_it() -> None:
    event = replace(purchase_event(1, START, Decimal(5)), source="till", category=Category.TRANSACTION)
    matching = {
        EventTrigger(("purchase",)): True,
        EventTrigger(("visit", "purchase")): True,
        EventTrigger(("visit",)): False,
        EventTrigger(("purchase",), sources=("till", "web")): True,
        EventTrigger(("purchase",), sources=("web",)): False,
        EventTrigger(("purchase",), categories=(Category.TRANSACTION,)): True,
        EventTrigger(("purchase",), categories=(Category.CUSTOM,)): False,
    }
    assert {trigger: matches_event(rule("any", trigger=trigger), trigger, event) for trigger in matching} == matching
