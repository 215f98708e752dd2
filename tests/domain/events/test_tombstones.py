"""Tombstones: a walk with removals ends like a walk over the events that are left."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.activities import DELETED, LEFT, UPDATED
from app.domain.events.events import EVENT_REMOVED, PASS_ERASED, Category, Event, Origin
from app.domain.events.points_expiry import PointsExpiry
from app.domain.events.tombstones import tombstone_id
from app.domain.fold.advance import Advanced, advance
from app.domain.passes.passes import Profile
from app.domain.segments.criteria import iter_leaves
from app.domain.segments.evaluation import EvaluationContext, measured_value
from app.domain.values.instants import DAY_MS, to_ms
from tests.domain.fold.test_advance import (
    CRITERIA,
    START,
    PassSimulation,
    count_criteria,
    days_since_criteria,
    definitions_of,
    purchase_event,
)

DEFINED = definitions_of(
    *CRITERIA,
    {"event": {"types": ["purchase"], "metric": "SUM", "field": "points", "operator": "GTE", "value": 20}},
    {"pass": {"field": "pointsBalance", "operator": "GTE", "value": 15}},
    {"pass": {"field": "fields.level", "operator": "GTE", "value": 2}},
    days_since_criteria(20, metric="DAYS_SINCE_FIRST"),
    {"pass": {"field": "status", "value": "ACTIVE"}},
    {"pass": {"field": "installedAt", "operator": "EXISTS"}},
)


def tombstone(target: str | None, at_ms: int) -> Event:
    kind = PASS_ERASED if target is None else EVENT_REMOVED
    event = purchase_event(0, at_ms)
    return replace(event, id=tombstone_id(target or "pass_1"), type=kind, amount=None, currency=None, removes=target)


def new_event(i: int, kind: str, at_ms: int, recorded_ms: int, amount: int) -> Event:
    event = purchase_event(i, at_ms, Decimal(amount), recorded_ms, historical=kind == "import")
    match kind:
        case "refund":
            return replace(event, type="refund", amount=Decimal(amount) / 3, correction_of=f"event_{i - 1:05}")
        case "points":
            return replace(event, points=Decimal(amount), points_expiry=PointsExpiry(at_ms + amount * DAY_MS))
        case "spend":
            return replace(event, type="redemption", category=Category.ACTIVITY, points=Decimal(-amount) / 2)
        case "field":
            return replace(
                event, type="field_increment", category=Category.FIELD_CHANGE, amount=Decimal(1), field_name="level"
            )  # fmt: skip
        case "list_added" | "list_removed":
            on = "INCLUDE" if amount % 2 else "EXCLUDE"
            return replace(
                event,
                type=kind,
                category=Category.CUSTOM,
                amount=None,
                currency=None,
                metadata={"segment": f"seg_{amount % 3}", "list": on},
            )
        case "pass_installed" | "pass_uninstalled":
            return replace(event, type=kind, category=Category.ACTIVITY, amount=None, currency=None)
    return event


operations = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "buy",
                "buy",
                "refund",
                "points",
                "spend",
                "field",
                "import",
                "pass_installed",
                "pass_uninstalled",
                "list_added",
                "list_removed",
                "remove",
            ]
        ),
        st.integers(0, 60),
        st.integers(0, 30),
        st.integers(1, 90),
        st.sampled_from(["all", "part", "stop"]),
    ),
    min_size=6,
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(operations, st.sampled_from([0, 3, 100]))
def test_any_order_of_events_and_removals_ends_like_a_rebuild(
    script: list[tuple[str, int, int, int, str]], days: int
) -> None:
    simulation, now = PassSimulation(DEFINED), START
    recorded: list[Event] = []
    removed: set[str] = set()
    for i, (kind, step, late, amount, worker) in enumerate(script):
        now += step * DAY_MS // 4
        if kind != "remove":
            event = new_event(i, kind, max(START, now - late * DAY_MS) if i % 3 else now, now, amount)
            recorded.append(event)
            simulation.pending.append(event)
        elif recorded:
            target = recorded[amount % len(recorded)].id
            if target not in removed:
                removed.add(target)
                simulation.pending.append(tombstone(target, now))
        if worker == "all":
            simulation.fold_until(now)
        elif worker == "part":
            simulation.fold(now, limit=2)
    end = now + days * DAY_MS
    simulation.fold_until(end, limit=3)
    rebuilt = PassSimulation(DEFINED)
    # What was decided is not decided again: a correction stays although its original was removed since.
    assert {event.id for event in simulation.counted} <= {event.id for event in recorded} - removed
    rebuilt.pending = list(simulation.counted)
    rebuilt.fold_until(end)
    assert derived_values(simulation, end) == derived_values(rebuilt, end)
    assert [e.number for e in simulation.entries] == list(range(1, len(simulation.entries) + 1))
    published = {str(e.refs["removed"]) for e in simulation.entries if e.type == UPDATED and "removed" in e.refs}
    assert published <= removed


def derived_values(simulation: PassSimulation, at_ms: int) -> dict[str, object]:
    """Return everything that a pass derives from its events, as of an instant."""
    card = simulation.card
    context = EvaluationContext(
        at_ms,
        card.measures,
        card.memberships,
        card=card,
        profile=card.profile,
        points=card.points,
        joined_ms=to_ms(card.joined_at),
        installed_at=card.installed_at,
    )
    return {
        "aggregates": dict(card.aggregates),
        "profile": card.profile,
        "installed": (card.installed_at, card.installed_by_event),
        "points": (card.points, card.lots or None),
        "memberships": set(card.memberships),
        "values": [
            [measured_value(leaf, context) for leaf in iter_leaves(v.criteria)]
            for v in DEFINED.active(card.revision).versions
        ],
    }


@settings(max_examples=20, deadline=None)
@given(operations, st.integers(0, 29))
def test_erased_pass_leaves_every_segment_and_keeps_no_values(
    script: list[tuple[str, int, int, int, str]], when: int
) -> None:
    """Memberships end in the write that erases the pass."""
    simulation, now = PassSimulation(DEFINED), START
    for i, (kind, step, late, amount, worker) in enumerate(script[:when]):
        now += step * DAY_MS // 4
        simulation.pending.append(new_event(i, kind, max(START, now - late * DAY_MS), now, amount))
        if worker == "all":
            simulation.fold_until(now)
    simulation.pending += [tombstone(None, now), purchase_event(999, now + DAY_MS // 1000)]
    while simulation.card.erased is None:
        simulation.fold(now + DAY_MS, limit=2)
    card = simulation.card
    assert (dict(card.aggregates), dict(card.measures), dict(card.memberships)) == ({}, {}, {})
    assert (card.points, card.lots, card.profile, card.initial_profile, card.next_due_ms) == (
        Decimal(0),
        None,
        Profile(),
        Profile(),
        None,
    )
    assert [e.number for e in simulation.entries] == list(range(1, len(simulation.entries) + 1))
    assert simulation.entries[-1].type == DELETED
    for n in range(len(DEFINED.active(card.revision).versions)):
        transitions = simulation.transitions(f"seg_{n}")
        assert [entered for _, entered in transitions] == [True, False] * (len(transitions) // 2)
    left = [e for e in simulation.entries if e.type == LEFT and e.cause == {"kind": "EVENT_REMOVED"}]
    assert [e.refs["segment"] for e in left] == list(card.erased.segments if card.erased else ())
    assert all(e.late and e.refs["after"] == () for e in left)


def test_event_removed_before_it_occurs_never_counts() -> None:
    simulation = PassSimulation(definitions_of(count_criteria(1)))
    future = purchase_event(1, START + 240_000, recorded_ms=START)
    done = advance(
        simulation.card,
        simulation.definitions,
        [future, tombstone(future.id, START + 1_000)],
        limit_ms=START + 2_000,
        recorded_ms=0,
    )
    assert isinstance(done, Advanced)
    assert (done.entries, done.folded_ids) == ((), (tombstone_id(future.id),))
    assert done.card.aggregates == {}


def test_removals_of_one_instant_name_the_event_that_each_segment_misses() -> None:
    simulation = PassSimulation(
        definitions_of(
            count_criteria(2), {"event": {"types": ["visit"], "metric": "COUNT", "operator": "GTE", "value": 1}}
        )
    )
    visit = replace(purchase_event(3, START + 3), type="visit", category=Category.ACTIVITY, origin=Origin("API"))
    simulation.pending = [purchase_event(1, START + 1), purchase_event(2, START + 2), visit]
    simulation.fold_until(START + 10)
    simulation.pending = [tombstone(visit.id, START + 20), tombstone("event_00002", START + 20)]
    simulation.fold_until(START + 30)
    changes = [(e.type, e.at_ms, e.cause.get("event"), e.late) for e in simulation.entries[-4:]]
    at = START + 20
    assert changes == [
        (UPDATED, at, "event_00002", True), (UPDATED, at, visit.id, True),
        (LEFT, at, "event_00002", True), (LEFT, at, visit.id, True),
    ]  # fmt: skip
    assert (simulation.entries[-2].refs["before"], simulation.entries[-2].refs["after"]) == ((2,), (1,))
