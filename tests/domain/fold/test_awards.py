"""Points that rules award: when they enter the balance and expire, and what a return takes back of them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from app.domain.activities import POINTS_ADDED, POINTS_EXPIRED, POINTS_PENDING
from app.domain.events.events import Category, Event
from app.domain.rules.effects import AwardExpiry, AwardPoints, EndOfPeriod, PointsPerAmount, Rounding
from app.domain.rules.terms import points_per_amount
from app.domain.rules.triggers import EventTrigger, SegmentTrigger
from app.domain.state.lots import find_expiries
from app.domain.values.instants import DAY_MS, from_ms
from app.domain.values.periods import PeriodUnit

from .rule_walks import RuleSimulation, after_days, defined, fixed, per_dollar, refund, removal, rule, segment
from .test_advance import START, days_since_criteria, purchase_event
from .test_rebuild import check_rebuild

IDLE = AwardPoints(fixed=Decimal(50), expiry=AwardExpiry(after_inactive_days=30))
PER_TEN = PointsPerAmount(Decimal(1), Decimal(10))


def spend(i: int, at_ms: int, points: int) -> Event:
    event = purchase_event(i, at_ms)
    return replace(
        event, type="redemption", category=Category.ACTIVITY, amount=None, currency=None, points=Decimal(-points)
    )


@pytest.mark.parametrize(
    ("per", "multiplier", "net", "points"),
    [
        (PER_TEN, "1", "99.99", "9"),
        (replace(PER_TEN, rounding=Rounding.HALF_UP), "1", "95", "10"),
        (replace(PER_TEN, rounding=Rounding.UP), "1", "90.01", "10"),
        (PER_TEN, "1.5", "30", "4"),
        (replace(PER_TEN, decimals=1), "1.5", "30", "4.5"),
        (PointsPerAmount(Decimal("0.3"), Decimal(1), decimals=2), "1", "7.9", "2.1"),
    ],
)
def test_points_per_amount_round_the_amount_and_then_the_points(
    per: PointsPerAmount, multiplier: str, net: str, points: str
) -> None:
    assert points_per_amount(per, Decimal(multiplier), Decimal(net)) == Decimal(points)


def test_effect_that_would_give_more_points_than_an_event_may_have_fails() -> None:
    huge = per_dollar("999999999999999", "0.000001", multiplier=Decimal(999_999_999_999_999))
    simulation = RuleSimulation(defined(rule("huge", huge, fixed(5))))
    simulation.play(purchase_event(1, START + 5), purchase_event(2, START + 6))
    assert (simulation.given, simulation.balance) == ([5, 5], 10)
    results = simulation.fired[0].metadata["effects"]
    assert isinstance(results, list)
    assert [(result["status"], result.get("reason")) for result in results] == [
        ("FAILED", "TOO_LARGE"),
        ("SUCCEEDED", None),
    ]
    check_rebuild(simulation)


def test_correction_that_raises_the_amount_gives_as_many_points_as_an_event_may_have() -> None:
    checkouts = EventTrigger(("checkout",), currency="USD")
    simulation = RuleSimulation(defined(rule("points", per_dollar(20_000_000_000_000), trigger=checkouts)))
    order = replace(purchase_event(1, START + 5), type="checkout")
    simulation.play(order, replace(refund(2, START + 6, 1_000, order), type="checkout_update"))
    assert simulation.given == [200_000_000_000_000, 799_999_999_999_999]
    check_rebuild(simulation)


def test_pending_points_enter_the_balance_at_their_instant() -> None:
    simulation = RuleSimulation(defined(rule("points", per_dollar(pending_days=3))))
    simulation.play(purchase_event(1, START + 5), until_ms=START + 5)
    assert simulation.balance == 0
    assert simulation.card.next_due_ms == START + 5 + 3 * DAY_MS
    simulation.fold_until(START + 10 * DAY_MS)
    assert simulation.balance == 10
    shown = [(e.type, e.at_ms) for e in simulation.entries if e.type in (POINTS_PENDING, POINTS_ADDED)]
    assert shown == [(POINTS_PENDING, START + 5), (POINTS_ADDED, START + 5 + 3 * DAY_MS)]
    check_rebuild(simulation)


def test_return_within_the_pending_days_cancels_the_points() -> None:
    simulation = RuleSimulation(defined(rule("points", per_dollar(pending_days=3))))
    bought = purchase_event(1, START + 5)
    simulation.play(bought, refund(2, START + DAY_MS, 10, bought), until_ms=START + 10 * DAY_MS)
    assert (simulation.balance, simulation.card.pending_points) == (0, {})
    assert POINTS_ADDED not in [entry.type for entry in simulation.entries]


def test_awards_with_the_same_end_share_a_lot_and_expire_together() -> None:
    end = AwardExpiry(end_of=EndOfPeriod(PeriodUnit.YEAR))
    simulation = RuleSimulation(defined(rule("points", per_dollar(expiry=end))))
    simulation.play(purchase_event(1, START + 5), purchase_event(2, START + DAY_MS))
    [(key, lot)] = (simulation.card.lots or {}).items()
    assert (int(lot.remaining), key) == (20, f"at:{lot.expiry.at_ms}")
    simulation.fold_until(START + 400 * DAY_MS)
    [expired] = [entry for entry in simulation.entries if entry.type == POINTS_EXPIRED]
    assert (expired.refs, simulation.balance) == ({"points": 20, "balance": 0}, 0)
    assert from_ms(expired.at_ms).isoformat() == "1973-01-01T00:00:00+00:00"


def test_return_takes_first_what_is_left_of_the_award() -> None:
    soon, later = rule("soon", fixed(10, expiry=after_days(5))), rule("later", fixed(10, expiry=after_days(50)))
    simulation = RuleSimulation(defined(soon, replace(later, conditions=None)))
    bought = purchase_event(1, START + 5)
    simulation.play(bought, spend(2, START + DAY_MS, 4), refund(3, START + 2 * DAY_MS, 10, bought))
    assert simulation.given == [10, 10, -10, -10]
    assert (simulation.balance, simulation.card.lots) == (-4, {}), "what was spent becomes a debt"
    check_rebuild(simulation)


def test_return_of_points_without_an_end_leaves_those_that_expire() -> None:
    simulation = RuleSimulation(
        defined(
            rule("ends", fixed(10, expiry=after_days(10)), trigger=EventTrigger(("visit",))), rule("stays", fixed(10))
        )
    )
    visit = replace(purchase_event(1, START + 5), type="visit", amount=None, currency=None)
    bought = purchase_event(2, START + 6)
    simulation.play(visit, bought, refund(3, START + DAY_MS, 10, bought))
    assert [lot.remaining for lot in (simulation.card.lots or {}).values()] == [10]
    check_rebuild(simulation)
    simulation.fold_until(START + 20 * DAY_MS)
    assert simulation.balance == 0, "what was left expired"


def test_return_takes_back_nothing_that_has_expired() -> None:
    simulation = RuleSimulation(defined(rule("points", fixed(10, expiry=after_days(5)))))
    bought, other = purchase_event(1, START + 5), spend(2, START + DAY_MS, 4)
    simulation.play(bought, other, until_ms=START + 20 * DAY_MS)
    assert simulation.balance == 0
    simulation.play(refund(3, START + 21 * DAY_MS, 10, bought))
    assert simulation.given == [10, -10]
    assert simulation.balance == -4, "only the spent points are taken back"
    check_rebuild(simulation)


def test_what_rules_make_does_not_prolong_points_that_wait_for_inactivity() -> None:
    idle = AwardPoints(fixed=Decimal(7), expiry=AwardExpiry(after_inactive_days=10))
    simulation = RuleSimulation(defined(rule("idle", idle), rule("late", per_dollar(pending_days=6))))
    simulation.play(purchase_event(1, START + 5), until_ms=START + 30 * DAY_MS)
    [expired] = [entry for entry in simulation.entries if entry.type == POINTS_EXPIRED]
    assert expired.at_ms == START + 5 + 10 * DAY_MS


def test_points_taken_back_after_their_end_return_with_the_removal_of_the_refund() -> None:
    simulation = RuleSimulation(defined(rule("points", fixed(10, expiry=after_days(5)))))
    bought = purchase_event(1, START + 5)
    simulation.play(bought, spend(2, START + DAY_MS, 4), until_ms=START + 20 * DAY_MS)
    returned = refund(3, START + 21 * DAY_MS, 10, bought)
    simulation.play(returned, removal(returned, START + 22 * DAY_MS))
    assert simulation.given == [10, -10, 10]
    assert simulation.balance == 0, "the four spent points came back, the six that expired did not"
    check_rebuild(simulation)
    simulation.play(refund(4, START + 23 * DAY_MS, 10, bought))
    assert simulation.balance == -4
    check_rebuild(simulation)


def test_spent_points_taken_back_before_their_end_return_with_a_removed_refund() -> None:
    """The customer then has what a customer without the refund has: what was spent stays spent, the rest expired."""
    simulation = RuleSimulation(defined(rule("points", per_dollar(expiry=after_days(10)))))
    bought = purchase_event(1, START + 5, Decimal(10))
    returned = refund(3, START + 2 * DAY_MS, 10, bought)
    simulation.play(bought, spend(2, START + DAY_MS, 4), returned)
    assert simulation.balance == -4
    simulation.play(removal(returned, START + 20 * DAY_MS))
    assert simulation.balance == 0
    check_rebuild(simulation)


def test_pending_points_that_end_before_they_mature_are_not_reported_as_added() -> None:
    simulation = RuleSimulation(defined(rule("points", fixed(10, expiry=after_days(2), pending_days=5))))
    simulation.play(purchase_event(1, START + 5), until_ms=START + 20 * DAY_MS)
    assert (simulation.balance, simulation.card.pending_points) == (0, {})
    assert POINTS_ADDED not in [entry.type for entry in simulation.entries]
    check_rebuild(simulation)


def test_days_of_inactivity_count_from_an_award_that_follows_the_last_activity() -> None:
    back = rule("back", IDLE, trigger=SegmentTrigger("seg_away", entered=True))
    simulation = RuleSimulation(defined(segment("away", days_since_criteria(60)), back))
    simulation.play(purchase_event(1, START + 5), until_ms=START + 75 * DAY_MS)
    assert simulation.balance == 50
    assert find_expiries(simulation.card.lots, simulation.card.aggregates) == [(START + 5 + 90 * DAY_MS, Decimal(50))]
    check_rebuild(simulation)
    simulation.fold_until(START + 100 * DAY_MS)
    [expired] = [entry.at_ms for entry in simulation.entries if entry.type == POINTS_EXPIRED]
    assert (simulation.balance, expired) == (0, START + 5 + 90 * DAY_MS)
    check_rebuild(simulation)


def test_points_that_expire_by_inactivity_and_are_awarded_again_do_not_loop() -> None:
    simulation = RuleSimulation(
        defined(
            segment("away", days_since_criteria(60)),
            segment("rich", {"pass": {"field": "pointsBalance", "operator": "GTE", "value": 50}}),
            rule("back", IDLE, trigger=SegmentTrigger("seg_away", entered=True)),
            rule("again", IDLE, trigger=SegmentTrigger("seg_rich", entered=False)),
        )
    )
    simulation.play(purchase_event(1, START + 5), until_ms=START + 130 * DAY_MS)
    assert [event.occurred_ms for event in simulation.fired] == [START + 5 + days * DAY_MS for days in (60, 90, 120)]
    check_rebuild(simulation)


def test_late_grant_before_an_award_that_repaid_a_debt_leaves_the_award_to_expire() -> None:
    """In their order, the grant repays the debt, and the award becomes a lot that expires."""
    simulation = RuleSimulation(defined(rule("award", replace(fixed(3), expiry=after_days(5)))))
    simulation.play(spend(1, START + 5, 10), purchase_event(2, START + 7))
    assert simulation.balance == -7
    grant = replace(purchase_event(3, START + 6), type="gift", category=Category.CUSTOM, amount=None, currency=None)
    simulation.pending.append(replace(grant, points=Decimal(16)))
    simulation.fold_until(START + 8)
    assert simulation.balance == 9
    simulation.fold_until(START + 10 * DAY_MS)
    assert simulation.balance == 6
    check_rebuild(simulation)
