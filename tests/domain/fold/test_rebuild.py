"""A rebuild from zero equals the walk, with every kind of rule, and points follow net amounts."""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_FLOOR, Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.activities import types_of
from app.domain.events.events import (
    LIST_EVENTS,
    MERGE_FINISHED,
    PASS_UPDATED,
    RULE_CHANNEL,
    RULE_FIRED,
    TYPES,
    Category,
    Event,
    Move,
    Origin,
)
from app.domain.passes.profiles import rebuild_profile
from app.domain.rules.effects import (
    AwardExpiry,
    AwardPoints,
    ChangeList,
    DeductPoints,
    EndOfPeriod,
    PointsPerAmount,
    RecordEvent,
    UpdatePass,
)
from app.domain.rules.rules import Nth, OnHistorical, PerPassLimit
from app.domain.rules.triggers import BalanceTrigger, EventTrigger, SegmentTrigger
from app.domain.state.accounts import rebuild_account
from app.domain.state.aggregates import fold_events
from app.domain.state.firings import Firings, add_firing
from app.domain.state.measures import build_measure
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
OPERATION = st.tuples(
    st.sampled_from(["buy", "buy", "buy", "refund", "refund", "spend", "import", "remove", "field"]),
    st.integers(0, 40),
    st.integers(0, 10),
    st.integers(1, 90),
    st.sampled_from(["all", "part", "stop"]),
)
OPERATIONS = st.lists(OPERATION, min_size=4, max_size=25)
Operation = tuple[str, int, int, int, str]


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


def test_change_of_a_list_by_a_rule_is_an_event_that_a_rebuild_reads() -> None:
    lists = [ChangeList("seg_vip", adds=True), ChangeList("seg_vip", adds=False), ChangeList("seg_vip", adds=True)]
    simulation = RuleSimulation(defined(segment("vip", count_criteria(9)), rule("vip", *lists)))
    simulation.play(purchase_event(1, START + 5))
    assert [event.type for event in simulation.made] == ["rule_fired", "list_added", "list_removed", "list_added"]
    assert simulation.transitions("seg_vip") == [(START + 5, True)]
    check_rebuild(simulation)


def test_each_event_that_an_effect_makes_is_carried_by_an_entry_of_the_outbox() -> None:
    for event_type in (*TYPES, *LIST_EVENTS, PASS_UPDATED, RULE_FIRED, "milestone"):
        event = replace(purchase_event(1, START), type=event_type, origin=Origin(RULE_CHANNEL))
        assert types_of(event), event_type


def test_field_that_a_rule_changed_before_a_merge_does_not_win_over_a_later_change() -> None:
    alias = RuleSimulation(defined(rule("level", UpdatePass(fields={"level": "old"}))))
    alias.play(purchase_event(1, START + 5))
    survivor = RuleSimulation(defined())
    survivor.play(
        replace(
            purchase_event(2, START + DAY_MS), type=PASS_UPDATED, category=Category.FIELD_CHANGE, amount=None,
            currency=None, changes={"fields": {"level": "new"}},
        )
    )  # fmt: skip
    survivor.pending += [replace(event, move=Move("pass_2", 1, was_published=True)) for event in alias.made]
    survivor.fold_until(START + 2 * DAY_MS)
    assert survivor.card.profile.fields == {"level": "new"}
    check_rebuild(survivor)


def moved(event: Event) -> Event:
    """Return an event that counted on a merged pass, with ids of its own, as the merge moves it to the survivor."""
    origin = event.origin
    return replace(
        event,
        id=f"a{event.id}",
        correction_of=event.correction_of and f"a{event.correction_of}",
        root=event.root and f"a{event.root}",
        origin=replace(origin, cause=origin.cause and f"a{origin.cause}", target=origin.target and f"a{origin.target}"),
        move=Move("pass_2", 1, was_published=True),
    )


@settings(max_examples=25, deadline=None)
@given(*[st.lists(OPERATION, min_size=3, max_size=9)] * 2, st.integers(1, 12))
def test_rebuild_after_a_merge_equals_the_walk(first: list[Operation], second: list[Operation], size: int) -> None:
    alias, survivor = play(first), play(second)
    now = max(alias.card.evaluated_until_ms, survivor.card.evaluated_until_ms) + 1
    moving = sorted(map(moved, alias.counted), key=lambda event: (event.occurred_ms, event.id))
    for start in range(0, len(moving), size):
        survivor.pending += moving[start : start + size]
        survivor.fold_until(now)
    end = replace(
        purchase_event(0, now),
        id="mf:pass_2",
        type=MERGE_FINISHED,
        category=Category.CUSTOM,
        amount=None,
        currency=None,
    )
    survivor.pending.append(end)
    survivor.fold_until(now + DAY_MS)
    survivor.pending += [removal(event, now + 2 * DAY_MS) for event in survivor.counted if event.type == "purchase"][:2]
    survivor.fold_until(now + 60 * DAY_MS)
    check_rebuild(survivor)
    check_points(survivor)
    fired = [(event.origin.rule, event.origin.cause) for event in survivor.counted if event.type == RULE_FIRED]
    assert len(set(fired)) == len(fired), "a rule fired twice for one cause"
