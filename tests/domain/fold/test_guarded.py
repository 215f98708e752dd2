"""Guarded events and corrections in the walk: the same outcomes event by event, all at once, and in a rebuild."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.activities import CUSTOM_EVENT, EVENT_DECLINED
from app.domain.events.events import Category, Event, Move
from app.domain.events.guards import NO_DEBT, Decision, OutcomeStatus, Reason
from app.domain.events.ordering import sort_events
from app.domain.rules.triggers import EventTrigger
from app.domain.values.instants import DAY_MS

from .rule_walks import RuleSimulation, after_days, defined, fixed, refund, rule, segment
from .test_advance import START, purchase_event
from .test_rebuild import check_rebuild

RULES = defined(
    segment("rich", {"pass": {"field": "pointsBalance", "operator": "GTE", "value": 30}}),
    rule("taken", fixed(2), trigger=EventTrigger(("point_sub",))),
    rule("bought", fixed(7, expiry=after_days(3)), trigger=EventTrigger(("purchase",))),
)
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["buy", "buy", "take", "take", "refund", "rest", "back"]),
        st.integers(0, 8),
        st.integers(1, 40),
    ),
    min_size=4,
    max_size=25,
)


def take(i: int, at_ms: int, points: int) -> Event:
    """Return a guarded deduction, recorded when it occurs."""
    event = purchase_event(i, at_ms)
    return replace(
        event,
        type="point_sub",
        category=Category.CUSTOM,
        amount=None,
        currency=None,
        points=Decimal(-points),
        guard=NO_DEBT,
    )


def give_back(i: int, at_ms: int, original: Event) -> Event:
    """Return a correction that gives the points of a deduction back."""
    event = replace(purchase_event(i, at_ms), type="custom", category=Category.CUSTOM, amount=None, currency=None)
    return replace(
        event, points=-original.points, correction_of=original.id, root=original.family,
        corrected_order=original.depth_order,
    )  # fmt: skip


def write(operations: list[tuple[str, int, int]]) -> list[Event]:
    """Return events of operations (kind, quarter days passed, amount), each at an instant of its own."""
    now, events = START, list[Event]()
    for i, (kind, passed, amount) in enumerate(operations):
        now += passed * DAY_MS // 4 + 1
        bought = [event for event in events if event.type == "purchase"]
        taken = [event for event in events if event.type == "point_sub"]
        if kind == "take":
            events.append(take(i, now, amount))
        elif kind in ("refund", "rest") and bought:
            event = refund(i, now, amount, bought[amount % len(bought)])
            events.append(event if kind == "refund" else replace(event, amount=None))
        elif kind == "back" and taken:
            events.append(give_back(i, now, taken[amount % len(taken)]))
        else:
            events.append(replace(purchase_event(i, now, Decimal(amount)), points=Decimal(amount % 12)))
    return events


def outcomes(simulation: RuleSimulation) -> list[tuple[str, str, object]]:
    """Return the activity of each recorded event with its reasons, and what counts of it."""
    amounts = {event.id: (event.amount, event.points) for event in simulation.counted}
    told = [entry for entry in simulation.entries if entry.type in (CUSTOM_EVENT, EVENT_DECLINED)]
    recorded = [entry for entry in told if str(entry.refs["event"]).startswith("event_0")]
    return [(entry.type, str(entry.refs.get("reasons")), amounts.get(str(entry.refs["event"]))) for entry in recorded]


@settings(max_examples=80, deadline=None)
@given(OPERATIONS, st.integers(1, 4))
def test_outcomes_are_the_same_event_by_event_in_parts_and_in_a_rebuild(
    operations: list[tuple[str, int, int]], size: int
) -> None:
    events = write(operations)
    by_event, at_once = RuleSimulation(RULES), RuleSimulation(RULES)
    by_event.play(*events)
    at_once.pending += events
    end = events[-1].occurred_ms + 9 * DAY_MS
    for simulation in (by_event, at_once):
        simulation.fold_until(end, size)
        check_rebuild(simulation)
    assert outcomes(by_event) == outcomes(at_once)
    assert (by_event.card.points, by_event.card.lots) == (at_once.card.points, at_once.card.lots)
    balances = [d for d in at_once.counted if d.guard is not None]
    assert all(event.outcome.balance is not None and event.outcome.balance >= 0 for event in balances)


def test_correction_of_a_guarded_event_is_decided_directly_after_it() -> None:
    taken = take(5, START + 5, 10)
    back, other = give_back(1, START + 5, taken), take(9, START + 5, 10)
    simulation = RuleSimulation(defined())
    simulation.pending += [replace(purchase_event(2, START + 4), points=Decimal(10)), back, other, taken]
    simulation.fold_until(START + 9)
    assert [event.id for event in sort_events(simulation.counted)][1:] == [taken.id, back.id, other.id]
    assert simulation.balance == 0
    check_rebuild(simulation)


def test_what_rules_make_for_an_accepted_event_counts_before_the_next_decision() -> None:
    simulation = RuleSimulation(defined(rule("taken", fixed(10), trigger=EventTrigger(("point_sub",)))))
    simulation.pending += [replace(purchase_event(1, START + 4), points=Decimal(10)), take(2, START + 4, 10)]
    simulation.pending += [take(3, START + 4, 10), take(4, START + 4, 15)]
    simulation.fold_until(START + 9)
    assert outcomes(simulation)[1:] == [
        (CUSTOM_EVENT, "None", (None, Decimal(-10))),
        (CUSTOM_EVENT, "None", (None, Decimal(-10))),
        (EVENT_DECLINED, "[['INSUFFICIENT_POINTS', 'The balance is 10 points; this needs 15.']]", None),
    ]


def test_event_that_a_merged_pass_decided_is_not_decided_again() -> None:
    simulation = RuleSimulation(defined())
    accepted = replace(take(1, START + 4, 10), move=Move("pass_2", 1, was_published=True))
    declined = Decision((Reason("INSUFFICIENT_POINTS", "No points."),)).outcome
    simulation.pending += [accepted, replace(take(2, START + 4, 1), outcome=declined, move=Move("pass_2", 1, False))]
    simulation.fold_until(START + 9)
    assert simulation.balance == -10
    assert [entry.type for entry in simulation.entries if entry.type in (CUSTOM_EVENT, EVENT_DECLINED)] == []
    assert not simulation.pending
    assert OutcomeStatus.DECLINED is declined.status
