"""Rules fire in the walk: what they make, in which order, and when they do not fire."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from app.domain.activities import POINTS_ADDED, REWARDED_POINTS, RULE_WAS_FIRED
from app.domain.events.events import RULE_INCLUDED, Category, Event
from app.domain.ids import inclusion_id
from app.domain.rules.cascades import MAX_MADE_AT_INSTANT
from app.domain.rules.effects import AwardPoints, DeductPoints, PointsPerAmount, RecordEvent
from app.domain.rules.rules import Nth, PerPassLimit, RuleVersion, When
from app.domain.rules.triggers import BalanceTrigger, EventTrigger, SegmentTrigger
from app.domain.segments.parsing import parse_criteria
from app.domain.values.instants import DAY_MS, from_ms
from workers.stages.fold import count_to_take

from .rule_walks import RuleSimulation, defined, fixed, per_dollar, refund, removal, rule, segment
from .test_advance import START, count_criteria, days_since_criteria, purchase_event

VISITS = EventTrigger(("visit",))
PURCHASES = EventTrigger(("purchase",))
ADDED = EventTrigger(("point_add",))
SUBTRACTED = EventTrigger(("point_sub",))


def test_purchase_earns_points_in_the_walk_that_counts_it() -> None:
    simulation = RuleSimulation(defined(rule("points", per_dollar())))
    bought = purchase_event(1, START + 5, Decimal("12.90"))
    simulation.play(bought)
    assert simulation.balance == 12
    fired, award = simulation.made
    assert (fired.origin.cause, fired.origin.rule, fired.origin.rule_version) == (bought.id, "rule_points", 1)
    assert (award.type, award.source, award.occurred_ms) == ("point_add", "rule:points", START + 5)
    assert [entry.type for entry in simulation.entries if entry.made] == [RULE_WAS_FIRED, POINTS_ADDED]
    assert [entry.type for entry in simulation.entries][-2:] == [POINTS_ADDED, REWARDED_POINTS]
    assert [entry.number for entry in simulation.entries if entry.made] == [fired.step, award.step]
    assert simulation.card.firings["rule_points"].total == 1
    assert ("point_add", None) not in simulation.card.aggregates, "made events are nobody's activity"


def test_points_have_no_zeros_behind_their_digits() -> None:
    per = AwardPoints(per_amount=PointsPerAmount(Decimal("1.5"), Decimal(1), decimals=1))
    simulation = RuleSimulation(defined(rule("points", per, fixed("2.50", multiplier=Decimal(2)))))
    simulation.play(purchase_event(1, START + 5, Decimal(10)))
    assert (simulation.given, str(simulation.card.points)) == ([15, 5], "20")


def test_refund_takes_back_what_the_net_amount_no_longer_earns() -> None:
    simulation = RuleSimulation(defined(rule("points", per_dollar(each=10), fixed(50))))
    bought = purchase_event(1, START + 5, Decimal(100))
    simulation.play(bought, refund(2, START + DAY_MS, 35, bought))
    assert simulation.given == [10, 50, -4]
    simulation.play(refund(3, START + 2 * DAY_MS, 65, bought))
    assert simulation.given == [10, 50, -4, -6, -50]
    assert simulation.balance == 0


def test_correction_that_is_no_transaction_leaves_the_net_amount() -> None:
    simulation = RuleSimulation(defined(rule("points", per_dollar(each=10))))
    bought = purchase_event(1, START + 5, Decimal(100))
    visit = replace(refund(2, START + DAY_MS, 35, bought), type="visit", category=Category.ACTIVITY)
    simulation.play(bought, visit)
    assert simulation.given == [10]
    simulation.play(refund(3, START + 2 * DAY_MS, 35, bought))
    assert simulation.given == [10, -4]


def test_removed_event_gives_nothing_and_removed_refund_gives_back() -> None:
    simulation = RuleSimulation(defined(rule("points", per_dollar())))
    bought = purchase_event(1, START + 5, Decimal(100))
    returned = refund(2, START + DAY_MS, 30, bought)
    simulation.play(bought, returned, removal(returned, START + 2 * DAY_MS))
    assert simulation.given == [100, -30, 30]
    simulation.play(removal(bought, START + 3 * DAY_MS))
    assert simulation.given == [100, -30, 30, -100]
    assert len(simulation.fired) == 1


def test_several_corrections_of_one_instant_make_one_difference() -> None:
    simulation = RuleSimulation(defined(rule("points", per_dollar(each=10))))
    bought = purchase_event(1, START + 5, Decimal(100))
    at = START + DAY_MS
    simulation.play(bought)
    simulation.pending += [refund(2, at, 5, bought), refund(3, at, 5, bought), refund(4, at, 5, bought)]
    simulation.fold_until(at)
    assert simulation.given == [10, -2]
    assert simulation.made[-1].origin.cause == "event_00004"


def test_points_follow_the_version_that_fired() -> None:
    first = rule("points", per_dollar())
    second = rule("points", per_dollar(3), version=2, at_ms=START + 10)
    simulation = RuleSimulation(defined(first))
    bought = purchase_event(1, START + 5, Decimal(10))
    simulation.play(bought)
    simulation.definitions = defined(first, second)
    simulation.play(refund(2, START + DAY_MS, 5, bought))
    assert simulation.given == [10, -5]
    simulation.play(purchase_event(3, START + 2 * DAY_MS, Decimal(10)))
    assert simulation.given == [10, -5, 30]


def test_event_that_comes_after_a_version_is_late_and_fires_under_that_version() -> None:
    """Otherwise the event counts before the version, which is not asked, and the version before is no longer in force."""
    first = rule("points", per_dollar())
    second = rule("points", per_dollar(3), version=2, at_ms=START + 100)
    simulation = RuleSimulation(defined(first))
    simulation.play(purchase_event(1, START + 5, Decimal(10)))
    simulation.definitions = defined(first, second)
    simulation.fold_until(START + 200)
    simulation.play(purchase_event(2, START + 50, Decimal(10), recorded_ms=START + 300))
    assert simulation.given == [10, 30]
    assert [(event.origin.rule_version, event.occurred_ms) for event in simulation.fired] == [
        (1, START + 5), (2, START + 300),
    ]  # fmt: skip


@pytest.mark.parametrize("meets_version_first", [False, True])
def test_event_of_the_instant_of_an_edit_fires_under_one_of_both_versions(meets_version_first: bool) -> None:
    """The version that is in force when the event counts is asked, whichever of the two the pass met first."""
    first = rule("points", per_dollar())
    second = rule("points", per_dollar(3), version=2, at_ms=START + 100)
    simulation = RuleSimulation(defined(first, second))
    if meets_version_first:
        simulation.fold_until(START + 100)
    simulation.play(purchase_event(1, START + 100, Decimal(10)))
    assert simulation.given == ([30] if meets_version_first else [10])


@pytest.mark.parametrize("meets_version_first", [False, True])
def test_rule_does_not_see_the_instant_at_which_it_was_created(meets_version_first: bool) -> None:
    created = rule("points", per_dollar(), at_ms=START + 100, first_at=from_ms(START + 100))
    simulation = RuleSimulation(defined(created))
    if meets_version_first:
        simulation.fold_until(START + 100)
    simulation.play(purchase_event(1, START + 100, Decimal(10)))
    assert simulation.given == []


def test_removals_of_one_instant_are_reported_in_the_order_of_their_events() -> None:
    bought = [purchase_event(i, START + 5 + i) for i in range(3)]
    simulation = RuleSimulation(defined(rule("points", per_dollar())))
    for event in reversed(bought):
        simulation.pending = [event]
        simulation.fold_until(START + DAY_MS)
    simulation.pending = [removal(event, START + 2 * DAY_MS) for event in bought]
    simulation.fold_until(START + 2 * DAY_MS)
    assert [entry.refs["removed"] for entry in simulation.entries if "removed" in entry.refs] == [e.id for e in bought]


def test_nth_counts_matching_events_and_fires_once_for_each_number() -> None:
    simulation = RuleSimulation(defined(rule("third", fixed(1), nth=Nth(every=3))))
    events = [purchase_event(i, START + i * DAY_MS) for i in range(1, 8)]
    simulation.play(*events)
    assert [event.metadata["number"] for event in simulation.fired] == [3, 6]
    last = START + 10 * DAY_MS
    simulation.play(removal(events[0], last), removal(events[1], last + 1), purchase_event(9, last + 2))
    assert len(simulation.fired) == 2, "the sixth purchase was reached again"


def test_events_of_one_instant_have_their_own_numbers() -> None:
    simulation = RuleSimulation(defined(rule("second", fixed(1), nth=Nth(equals=2))))
    simulation.pending = [purchase_event(i, START + 5) for i in range(3)]
    simulation.fold_until(START + 5)
    assert [event.origin.cause for event in simulation.fired] == ["event_00001"]


def test_limits_count_firings_in_their_window() -> None:
    limit = PerPassLimit(2, within_ms=10 * DAY_MS)
    simulation = RuleSimulation(defined(rule("some", fixed(1), per_pass=limit)))
    simulation.play(*(purchase_event(i, START + i * 4 * DAY_MS) for i in range(1, 8)))
    days = [(event.occurred_ms - START) // DAY_MS for event in simulation.fired]
    assert days == [4, 8, 16, 20, 28]


def test_of_a_group_only_the_first_rule_that_fires_does() -> None:
    double = rule("double", per_dollar(2), priority=1, group="points", active_from_ms=START + 10)
    single = rule("single", per_dollar(), group="points")
    simulation = RuleSimulation(defined(single, double))
    simulation.play(purchase_event(1, START + 5), purchase_event(2, START + 15))
    assert simulation.given == [10, 20]


def test_control_group_fires_without_effects() -> None:
    simulation = RuleSimulation(defined(rule("points", per_dollar(), control_percent=100)))
    bought = purchase_event(1, START + 5)
    simulation.play(bought, refund(2, START + 9, 5, bought))
    assert simulation.given == []
    assert [event.metadata["control"] for event in simulation.fired] == [True]


def test_made_events_trigger_rules_up_to_a_depth() -> None:
    chain = [
        rule(f"r{n}", DeductPoints(Decimal(1)) if n % 2 else fixed(1), trigger=trigger)
        for n, trigger in enumerate([PURCHASES, ADDED, SUBTRACTED])
    ]
    simulation = RuleSimulation(defined(*chain))
    simulation.play(purchase_event(1, START + 5))
    assert [event.origin.depth for event in simulation.fired] == [1, 2, 3, 4, 5]


def test_late_event_fires_and_an_event_before_the_rule_does_not() -> None:
    points = rule("points", fixed(5), at_ms=START + 10, first_at=purchase_event(0, START + 10).occurred_at)
    simulation = RuleSimulation(defined(points))
    simulation.play(
        purchase_event(1, START + 50),
        purchase_event(2, START + 5, recorded_ms=START + 60),
        purchase_event(3, START + 20, recorded_ms=START + 70),
        purchase_event(4, START + 30, recorded_ms=START + 80, historical=True),
    )
    assert [event.origin.cause for event in simulation.fired] == ["event_00001", "event_00003"]
    late = simulation.fired[-1]
    assert (late.occurred_ms, late.metadata["late"]) == (START + 70, True)


def test_transition_fires_with_the_activity_as_its_cause() -> None:
    away = segment("away", days_since_criteria(10))
    entered = rule("back", fixed(5), trigger=SegmentTrigger("seg_away", entered=True))
    left = rule("gone", fixed(1), trigger=SegmentTrigger("seg_away", entered=False))
    simulation = RuleSimulation(defined(away, entered, left))
    simulation.play(purchase_event(1, START + 5), until_ms=START + 20 * DAY_MS)
    [fired] = simulation.fired
    transition = next(entry for entry in simulation.entries if "segment" in entry.refs)
    assert fired.origin.cause == f"act_1:{transition.number}"
    assert fired.occurred_ms == START + 5 + 10 * DAY_MS
    simulation.play(purchase_event(2, START + 30 * DAY_MS))
    assert simulation.given == [5, 1]


@pytest.mark.parametrize("fires_rules", [True, False])
def test_transitions_of_an_edit_fire_only_where_the_edit_says_so(fires_rules: bool) -> None:
    regulars = segment("regulars", count_criteria(2))
    entered = rule("entered", fixed(2), trigger=SegmentTrigger("seg_regulars", entered=True))
    simulation = RuleSimulation(defined(regulars, entered))
    simulation.play(purchase_event(1, START + 5))
    edited = replace(segment("regulars", count_criteria(1), at_ms=START + 10), version=2, fires_rules=fires_rules)
    simulation.definitions = defined(regulars, entered, edited)
    simulation.fold_until(START + 20)
    assert simulation.card.memberships.keys() == {"seg_regulars"}
    assert simulation.given == ([2] if fires_rules else [])


def included(at_ms: int, pass_id: str = "pass_1") -> Event:
    """Return the event that asks the rule "entered" of revision 2 about a member."""
    event = purchase_event(0, at_ms)
    return replace(
        event, id=inclusion_id("rule_entered", pass_id), type=RULE_INCLUDED, amount=None, currency=None,
        metadata={"rule": "rule_entered", "segment": "seg_regulars", "revision": 2},
    )  # fmt: skip


def test_present_member_is_asked_about_once_as_if_it_entered_then() -> None:
    regulars = segment("regulars", count_criteria(1))
    entered = rule(
        "entered", fixed(2), trigger=SegmentTrigger("seg_regulars", entered=True), at_ms=START + 10,
        first_at=from_ms(START + 10),
    )  # fmt: skip
    simulation = RuleSimulation(defined(regulars))
    simulation.play(purchase_event(1, START + 5))
    simulation.definitions = defined(regulars, entered)
    simulation.play(included(START + 20))
    [fired] = simulation.fired
    assert (fired.occurred_ms, fired.origin.cause, fired.family) == (START + 20, included(0).id, included(0).id)
    assert simulation.given == [2]


def test_event_about_a_pass_that_is_no_member_or_entered_itself_asks_nothing() -> None:
    regulars = segment("regulars", count_criteria(1))
    entered = rule("entered", fixed(2), trigger=SegmentTrigger("seg_regulars", entered=True))
    simulation = RuleSimulation(defined(regulars, entered))
    simulation.play(included(START + 3), purchase_event(1, START + 5))
    assert simulation.given == [2]
    simulation.play(included(START + 8), included(START + 9, "pass_of_an_alias"))
    assert simulation.given == [2]


def test_balance_fires_each_time_it_rises_to_the_reach() -> None:
    reached = rule("reached", RecordEvent("milestone"), trigger=BalanceTrigger(Decimal(15)))
    simulation = RuleSimulation(defined(rule("points", per_dollar()), reached))
    events = [purchase_event(i, START + i * DAY_MS) for i in range(1, 4)]
    simulation.play(*events)
    milestones = [event for event in simulation.made if event.type == "milestone"]
    assert [event.occurred_ms for event in milestones] == [START + 2 * DAY_MS]
    simulation.play(refund(7, START + 5 * DAY_MS, 10, events[0]), refund(8, START + 6 * DAY_MS, 10, events[1]))
    assert simulation.balance == 10
    simulation.play(purchase_event(9, START + 7 * DAY_MS))
    assert len([event for event in simulation.made if event.type == "milestone"]) == 2


def test_rule_on_the_balance_compares_with_that_of_its_own_instant() -> None:
    points = rule("points", per_dollar())
    simulation = RuleSimulation(defined(points))
    simulation.play(purchase_event(1, START + 5))
    late = rule("reached", fixed(1), trigger=BalanceTrigger(Decimal(5)), at_ms=START + 9)
    simulation.definitions = defined(points, late)
    simulation.play(purchase_event(2, START + DAY_MS))
    assert simulation.given == [10, 10], "the balance had reached 5 before the rule existed"


def test_condition_is_that_of_the_instant_of_the_event() -> None:
    regular = {"segment": {"id": "seg_regulars", "member": True}}
    bonus = rule("bonus", fixed(3), conditions=parse_criteria(regular, "USD"))
    simulation = RuleSimulation(defined(segment("regulars", count_criteria(2)), bonus))
    simulation.pending = [purchase_event(i, START + i * DAY_MS) for i in range(1, 4)]
    simulation.fold_until(START + 9 * DAY_MS)
    assert [event.origin.cause for event in simulation.fired] == ["event_00002", "event_00003"]


def test_hours_are_those_of_the_event_in_the_zone_of_the_rule() -> None:
    night = When(weekdays=(4,), from_minute=22 * 60, to_minute=6 * 60)
    simulation = RuleSimulation(defined(rule("night", fixed(1), when=night, timezone="Europe/Berlin")))
    friday = START + 2 * DAY_MS + 21 * 3_600_000
    assert from_ms(friday).isoweekday() == 5
    instants = [friday - 1, friday, friday + 8 * 3_600_000 - 1, friday + 8 * 3_600_000, friday + DAY_MS]
    simulation.play(*(purchase_event(i, at) for i, at in enumerate(instants)))
    assert [event.occurred_ms for event in simulation.fired] == instants[1:3]


def chained_rules(count: int, size: int = 4_000) -> list[RuleVersion]:
    """Return a rule that records an event for a purchase, and rules that record ten events of a size for that event."""
    effects = [RecordEvent("two", metadata={"text": "x" * size})] * 10
    return [
        rule("first", RecordEvent("one")),
        *(rule(f"then_{i}", *effects, trigger=EventTrigger(("one",))) for i in range(count)),
    ]


def test_walk_takes_few_events_if_what_rules_make_triggers_more_rules() -> None:
    active = defined(*chained_rules(10)).latest_active
    events = [purchase_event(i, START + 5) for i in range(500)]
    assert count_to_take(defined(rule("points", per_dollar())).latest_active, events) == 200
    assert active.count_effects("purchase") == 101
    assert count_to_take(active, events) == 3
    assert defined(rule("endless", RecordEvent("purchase"))).latest_active.count_effects("purchase") == 5


def test_events_that_rules_make_at_one_instant_are_limited() -> None:
    simulation = RuleSimulation(defined(*chained_rules(10)))
    simulation.pending += [purchase_event(i, START + 5) for i in range(50)]
    simulation.fold(START + 6)
    assert MAX_MADE_AT_INSTANT - 11 <= len(simulation.made) <= MAX_MADE_AT_INSTANT


def test_events_that_rules_make_at_the_next_instant_of_a_walk_are_counted_anew() -> None:
    simulation = RuleSimulation(defined(*chained_rules(10, size=1)))
    simulation.pending += [purchase_event(8 * instant + i, START + 5 + instant) for instant in (0, 1) for i in range(8)]
    simulation.fold(START + 7)
    assert len(simulation.made) == 2 * 8 * 112
    assert len(simulation.made) > MAX_MADE_AT_INSTANT


def test_numbers_of_another_trigger_are_counted_anew() -> None:
    """An edit that lets the rule count rarer events must not wait until these are as many as the events before."""
    first = rule("second", fixed(1), nth=Nth(every=2))
    edited = replace(rule("second", fixed(3), nth=Nth(every=2), version=2, at_ms=START + 5 * DAY_MS), trigger=VISITS)
    simulation = RuleSimulation(defined(first))
    simulation.play(*(purchase_event(i, START + i) for i in range(1, 5)))
    simulation.definitions = defined(first, edited)
    simulation.play(*(replace(purchase_event(i, START + (5 + i) * DAY_MS), type="visit") for i in range(1, 3)))
    assert simulation.given == [1, 1, 3]
