"""A rebuild from zero equals the walk, with every kind of rule, and points follow net amounts."""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_FLOOR, Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.events.events import RULE_FIRED, Category, Event
from app.domain.passes.profiles import rebuild_profile
from app.domain.rules.effects import (
    AwardExpiry,
    AwardPoints,
    DeductPoints,
    EndOfPeriod,
    PointsPerAmount,
    RecordEvent,
    UpdatePass,
)
from app.domain.rules.rules import Nth, OnHistorical, PerPassLimit
from app.domain.rules.triggers import BalanceTrigger, EventTrigger, SegmentTrigger
from app.domain.state.aggregates import fold_events
from app.domain.state.firings import Firings, add_firing
from app.domain.state.measures import build_measure
from app.domain.state.points import rebuild_account
from app.domain.values.instants import DAY_MS
from app.domain.values.periods import PeriodUnit

from .rule_walks import RuleSimulation, after_days, defined, fixed, per_dollar, refund, removal, rule, segment
from .test_advance import START, count_criteria, purchase_event

PER_THREE = AwardPoints(
    per_amount=PointsPerAmount(Decimal(2), Decimal(3)), expiry=AwardExpiry(end_of=EndOfPeriod(PeriodUnit.MONTH))
)
RULES = defined(
    segment("recent", count_criteria(2, within={"days": 20})),
    segment("rich", {"pass": {"field": "pointsBalance", "operator": "GTE", "value": 60}}),
    rule("points", per_dollar(), PER_THREE, fixed(5, expiry=after_days(9), pending_days=4)),
    rule("idle", fixed(7, expiry=AwardExpiry(after_inactive_days=6)), historical=OnHistorical.FIRE),
    rule("third", fixed(11), nth=Nth(every=3), conditions=None),
    rule("daily", DeductPoints(Decimal(1)), per_pass=PerPassLimit(1, calendar=PeriodUnit.WEEK)),
    rule("entered", fixed(3), UpdatePass(fields={"seen": "yes"}), trigger=SegmentTrigger("seg_recent", entered=True)),
    rule("left", DeductPoints(Decimal(2)), trigger=SegmentTrigger("seg_recent", entered=False)),
    rule("reached", RecordEvent("milestone"), trigger=BalanceTrigger(Decimal(50))),
    rule("earned", fixed(1), trigger=BalanceTrigger(Decimal(100), is_earned_total=True)),
    rule("milestones", fixed(4), trigger=EventTrigger(("milestone",))),
    rule("big", fixed(20), trigger=EventTrigger(("purchase",), currency="USD", amount_min=Decimal(40))),
)
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["buy", "buy", "buy", "refund", "refund", "spend", "import", "remove", "field"]),
        st.integers(0, 40),
        st.integers(0, 10),
        st.integers(1, 90),
        st.sampled_from(["all", "part", "stop"]),
    ),
    min_size=4,
    max_size=25,
)


def play(operations: list[tuple[str, int, int, int, str]]) -> RuleSimulation:
    """Return a simulation after operations (kind, quarter days passed, days late, amount, what the worker does)."""
    simulation, now = RuleSimulation(RULES), START
    recorded: list[Event] = []
    for i, (kind, passed, late, amount, worker) in enumerate(operations):
        now += passed * DAY_MS // 4
        at = max(START, now - late * DAY_MS) if late < 4 else now
        known = [event for event in recorded if event.type == "purchase"]
        if kind == "refund" and known:
            original = known[amount % len(known)]
            event = refund(i, max(at, original.occurred_ms), amount % 20 + 1, original, recorded_ms=now)
        elif kind == "remove" and recorded:
            event = removal(recorded.pop(amount % len(recorded)), now)
        elif kind == "spend":
            event = purchase_event(i, at, recorded_ms=now)
            event = replace(
                event,
                type="redemption",
                category=Category.ACTIVITY,
                amount=None,
                currency=None,
                points=Decimal(-amount),
            )
        elif kind == "field":
            event = replace(
                purchase_event(i, at, Decimal(1), recorded_ms=now), type="field_increment", field_name="seen",
                category=Category.FIELD_CHANGE,
            )  # fmt: skip
        else:
            event = purchase_event(i, at, Decimal(amount), recorded_ms=now, historical=kind == "import")
        if event.type != "event_removed":
            recorded.append(event)
        simulation.pending.append(event)
        if worker == "all":
            simulation.fold_until(now)
        elif worker == "part":
            simulation.fold(now, limit=2)
    simulation.fold_until(now + 40 * DAY_MS, limit=3)
    return simulation


def check_rebuild(simulation: RuleSimulation) -> None:
    """Assert that all derived values are functions of the set of events that count."""
    card, counted = simulation.card, simulation.counted
    assert len({event.id for event in counted}) == len(counted), "an event was made twice"
    account, _ = rebuild_account(counted, card.evaluated_until_ms)
    assert (card.points, card.lots or {}) == (account.balance, account.lots or {})
    assert card.pending_points == account.pending
    assert card.aggregates == fold_events({}, [event for event in counted if not event.is_made])
    assert card.made_aggregates == fold_events({}, [event for event in counted if event.is_made])
    assert card.profile == rebuild_profile(card.initial_profile, counted)
    firings: dict[str, Firings] = {}
    for event in counted:
        if event.type == RULE_FIRED:
            firings = add_firing(firings, event)
    assert card.firings == firings
    for measure in simulation.definitions.latest_active.measures:
        state = build_measure(measure, counted, card.evaluated_until_ms)
        assert card.measures.get(measure.key) == state


def check_points(simulation: RuleSimulation) -> None:
    """Assert that the points of each purchase for which the rule "points" fired follow from what is left of it."""
    counted = {event.id: event for event in simulation.counted}
    for fired in counted.values():
        if fired.type != RULE_FIRED or fired.origin.rule != "rule_points":
            continue
        bought = counted.get(fired.origin.cause or "")
        net = Decimal(0)
        if bought is not None and bought.amount is not None:
            net = bought.amount - sum(
                (e.amount or Decimal(0) for e in counted.values() if e.correction_of == bought.id), Decimal(0)
            )
        full = max(net, Decimal(0)).to_integral_value(ROUND_FLOOR)
        expected = [full, 2 * (full // 3), Decimal(5 if net > 0 else 0)]
        for index, points in enumerate(expected):
            given = sum(
                (
                    e.points
                    for e in counted.values()
                    if e.origin.rule == "rule_points"
                    and e.origin.effect == index
                    and (e.origin.target or e.origin.cause) == fired.origin.cause
                ),
                Decimal(0),
            )
            assert given == points, (fired.origin.cause, index, given, points)


@settings(max_examples=150, deadline=None)
@given(OPERATIONS)
def test_rebuild_from_zero_equals_the_walk(operations: list[tuple[str, int, int, int, str]]) -> None:
    simulation = play(operations)
    check_rebuild(simulation)
    check_points(simulation)
    fired = [(event.origin.rule, event.origin.cause) for event in simulation.fired]
    assert len(set(fired)) == len(fired), "a rule fired twice for one cause"
    assert [entry.number for entry in simulation.entries] == list(range(1, len(simulation.entries) + 1))


@settings(max_examples=60, deadline=None)
@given(OPERATIONS)
def test_points_are_the_same_however_the_worker_ran(operations: list[tuple[str, int, int, int, str]]) -> None:
    """Without late events and removals, the instants at which the worker ran change nothing."""
    exact = [
        (kind, passed + 1, 0, amount, worker)
        for kind, passed, _, amount, worker in operations
        if kind not in ("remove", "import")
    ]
    eager = play([(kind, passed, late, amount, "all") for kind, passed, late, amount, _ in exact])
    lazy = play([(kind, passed, late, amount, worker) for kind, passed, late, amount, worker in exact])
    assert [event.id for event in eager.made] == [event.id for event in lazy.made]
    assert (eager.card.points, eager.card.lots, eager.card.measures) == (
        lazy.card.points, lazy.card.lots, lazy.card.measures,
    )  # fmt: skip
