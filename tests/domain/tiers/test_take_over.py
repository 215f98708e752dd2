"""The tier of a merged pass: the survivor has the higher one of both, and of equal ones the one that ends later."""

from __future__ import annotations

import pytest

from app.domain.passes.passes import PassTier
from app.domain.rules.triggers import TierChange
from app.domain.tiers.evaluation import TierDecision, take_over
from app.domain.tiers.programs import TierPeriod

from .test_evaluation import program_of

PROGRAM = program_of(TierPeriod())
SILVER, GOLD = PassTier("silver", 10, 100), PassTier("gold", 20, 100)


@pytest.mark.parametrize(
    ("present", "other", "expected"),
    [
        (None, SILVER, TierDecision(TierChange.JOINED, SILVER)),
        (SILVER, GOLD, TierDecision(TierChange.UPGRADED, GOLD)),
        (GOLD, SILVER, None),
        (GOLD, PassTier("gold", 5, 99), None),
        (GOLD, PassTier("gold", 5, 100), None),
        (GOLD, PassTier("gold", 5, 101), TierDecision(TierChange.PROLONGED, PassTier("gold", 5, 101))),
        (GOLD, PassTier("gold", 30, 101), TierDecision(TierChange.PROLONGED, PassTier("gold", 20, 101))),
        (GOLD, PassTier("gold", 30, None), TierDecision(TierChange.PROLONGED, PassTier("gold", 20, None))),
        (PassTier("gold", 20, None), PassTier("gold", 5, 101), None),
        (PassTier("gone", 20, 100), SILVER, TierDecision(TierChange.UPGRADED, SILVER)),
        (None, PassTier("gone", 20, 100), None),
    ],
)
def test_survivor_takes_a_higher_tier_and_a_later_end(
    present: PassTier | None, other: PassTier, expected: TierDecision | None
) -> None:
    assert take_over(PROGRAM, present, other, 50) == expected


def test_without_a_program_no_tier_is_taken_over() -> None:
    assert take_over(None, None, SILVER, 50) is None
