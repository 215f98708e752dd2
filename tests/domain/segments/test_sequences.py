"""Sequences: steps taken one after the other, in walks and in rebuilds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.errors import InvalidInput
from app.domain.events.events import Event
from app.domain.segments.parsing import parse_criteria
from app.domain.segments.sequences import SequenceCriterion
from app.domain.state.completed import Completed
from app.domain.state.measures import State, build_measure
from app.domain.state.sequences import SequenceMeasure
from app.domain.values.conditions import MEANING
from app.domain.values.instants import DAY_MS, HOUR_MS
from tests.domain.fold.test_advance import START, PassSimulation, definitions_of, purchase_event

from .walk_checks import STEPS, Step, check_walk

FILTERS: dict[str, dict[str, object]] = {
    "purchase": {"types": ["purchase"]},
    "refund": {"types": ["refund"]},
    "from the shop": {"types": ["purchase"], "sources": ["shop"]},
    "large": {"types": ["purchase"], "metadata": [{"path": "n", "operator": "GTE", "value": 6}]},
    "any": {},
}
SEQUENCES = st.lists(st.tuples(st.sampled_from(sorted(FILTERS)), st.sampled_from([None, 1, 3])), min_size=2, max_size=4)


def sequence_of(*steps: tuple[str, int | None], within_days: int | None = None) -> dict[str, object]:
    """Return the criterion of steps, each a filter and the days since the step before."""
    listed = [
        {"event": FILTERS[name], **({} if days is None or index == 0 else {"withinDays": days})}
        for index, (name, days) in enumerate(steps)
    ]
    within = {} if within_days is None else {"within": {"days": within_days}}
    return {"sequence": {"steps": listed, **within}}


def takes(event: Event, name: str) -> bool:
    """Return whether an event takes a step."""
    if name == "any":
        return True
    if event.type != ("refund" if name == "refund" else "purchase"):
        return False
    number = event.metadata.get("n")
    return (name != "from the shop" or event.source == "shop") and (
        name != "large" or (isinstance(number, int) and number >= 6)
    )


def last_steps(events: Sequence[Event], steps: Sequence[tuple[str, int | None]]) -> list[Event]:
    """Return all events that take the last step of some chain, by trying all chains."""
    reached = [event for event in events if takes(event, steps[0][0])]
    for name, days in steps[1:]:
        reached = [
            event
            for event in events
            if takes(event, name)
            and any(
                (before.occurred_ms, before.step, before.id) < (event.occurred_ms, event.step, event.id)
                and (days is None or event.occurred_ms - before.occurred_ms <= days * DAY_MS)
                for before in reached
            )
        ]
    return reached


@settings(max_examples=120, deadline=None)
@given(STEPS, SEQUENCES, st.sampled_from([None, 2, 5]))
def test_sequence_holds_exactly_if_some_chain_of_events_takes_all_steps(
    operations: list[Step], steps: list[tuple[str, int | None]], within: int | None
) -> None:
    """The latest event of each step is enough, also with late events and removals (segments, section 2: sequence)."""
    steps = [(steps[0][0], None), *steps[1:]]

    def answer(events: Sequence[Event], at_ms: int) -> bool:
        reached = last_steps(events, steps)
        return any(within is None or event.occurred_ms > at_ms - within * DAY_MS for event in reached)

    check_walk(operations, sequence_of(*steps, within_days=within), answer, [] if within is None else [within * DAY_MS])


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 7)), max_size=12, unique_by=lambda each: each[0]),
    st.lists(st.sampled_from([None, 2, 4]), min_size=2, max_size=3),
)
def test_events_in_any_order_give_the_state_of_all_of_them_unless_it_is_in_doubt(
    taken: list[tuple[int, int]], gaps: list[int | None]
) -> None:
    """Each event takes the steps of its bits. Events in doubt are few, and the state is then built from all events."""
    steps = [{"event": {"types": [f"step_{i}"]}, **({} if i == 0 else {"withinDays": gaps[i - 1]})} for i in range(3)]
    criteria = parse_criteria({"sequence": {"steps": steps[: len(gaps) + 1]}}, "EUR")
    assert isinstance(criteria, SequenceCriterion)
    measure = criteria.measure
    events = [
        replace(purchase_event(day * 3 + step, START + day * DAY_MS), type=f"step_{step}")
        for day, bits in taken
        for step in range(3)
        if bits >> step & 1 and step <= len(gaps)
    ]
    state: State | None = None
    for count, event in enumerate(events, 1):
        in_doubt = measure.is_in_doubt(state, event)
        state = measure.build(events[:count]) if in_doubt else measure.add(state, event)
        assert state == measure.build(events[:count])


def test_late_first_step_makes_a_later_event_the_second_step() -> None:
    simulation = PassSimulation(definitions_of(sequence_of(("large", None), ("refund", 1))))
    refund = replace(purchase_event(2, START + DAY_MS), type="refund")
    bought = replace(
        purchase_event(1, START + HOUR_MS, recorded_ms=START + 2 * DAY_MS), metadata={"n": 9}, amount=Decimal(5)
    )
    for event in (refund, bought):
        simulation.pending.append(event)
        simulation.fold_until(event.recorded_ms)
    assert simulation.transitions("seg_0") == [(START + 2 * DAY_MS, True)]
    [state] = simulation.card.measures.values()
    assert state == Completed((key(bought), key(refund)), (key(bought), key(refund)))


def key(event: Event) -> tuple[int, int, str]:
    return event.occurred_ms, event.step, event.id


def test_late_events_of_an_instant_build_the_state_of_a_sequence_once() -> None:
    """And a walk that built states from many events stops, so that other passes are not kept waiting."""
    simulation = PassSimulation(definitions_of(sequence_of(("purchase", None), ("refund", 1))))
    types = ("refund", "purchase")
    simulation.pending = [
        replace(purchase_event(i, START + i * HOUR_MS), type=types[i % 2]) for i in range(50)
    ]  # fmt: skip
    now = START + 60 * HOUR_MS
    simulation.fold_until(now)
    together = [purchase_event(100 + i, START + i * HOUR_MS + 1, recorded_ms=now + 1) for i in range(20)]
    apart = [purchase_event(200 + i, START + i * HOUR_MS + 2, recorded_ms=now + 2 + i) for i in range(20)]
    with patch.object(SequenceMeasure, "build", autospec=True, side_effect=SequenceMeasure.build) as build:
        simulation.pending += together
        simulation.fold(now + 1)
        assert (build.call_count, simulation.pending) == (1, [])
        simulation.pending += apart
        with patch("app.domain.fold.walk.MAX_WALK_COMPARISONS", 200):
            simulation.fold(now + 100)
            assert 0 < len(simulation.pending) < len(apart)
            simulation.fold_until(now + 100)
        assert 1 < build.call_count <= 1 + len(apart)
    [state] = simulation.card.measures.values()
    [measure] = simulation.definitions.latest_active.measures
    assert state == build_measure(measure, simulation.counted, now)


def test_event_takes_one_step_of_a_chain_only() -> None:
    simulation = PassSimulation(definitions_of(sequence_of(("purchase", None), ("purchase", 1))))
    simulation.pending.append(purchase_event(1, START + 1))
    simulation.fold_until(START + 1)
    assert simulation.transitions("seg_0") == []
    simulation.pending.append(purchase_event(2, START + 1 + DAY_MS))
    simulation.fold_until(START + 2 * DAY_MS)
    assert simulation.transitions("seg_0") == [(START + 1 + DAY_MS, True)]
    [entry] = [each for each in simulation.entries if "segment" in each.refs]
    assert (entry.refs["before"], entry.refs["after"]) == ((1,), (2,))


def test_sequence_parsed_from_its_written_form_is_equal() -> None:
    criteria = parse_criteria(sequence_of(("large", None), ("refund", 14), within_days=30), "EUR")
    assert isinstance(criteria, SequenceCriterion)
    assert parse_criteria(criteria.to_dict(), "EUR", stored_meaning=MEANING) == criteria


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({"steps": [{"event": {}}]}, ["steps"]),
        ({"steps": [{"event": {}}] * 6}, ["steps"]),
        ({"steps": [{"event": {}, "withinDays": 1}, {"event": {}}]}, ["steps", "0", "withinDays"]),
        ({"steps": [{"event": {}}, {"event": {}, "withinDays": 0}]}, ["steps", "1", "withinDays"]),
        ({"steps": [{"event": {}}, {"event": {}, "withinDays": 3_661}]}, ["steps", "1", "withinDays"]),
        ({"steps": [{"event": {}}, {}]}, ["steps", "1", "event"]),
        ({"steps": [{"event": {}}, {"event": {"categories": ["SALE"]}}]}, ["steps", "1", "event", "categories", "0"]),
        ({"steps": [{"event": {}}, {"event": {}}], "within": {"days": 0}}, ["within", "days"]),
    ],
)
def test_sequence_that_is_no_sequence_is_refused_with_the_path_of_the_mistake(
    body: dict[str, object], at: list[str]
) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_criteria({"sequence": body}, "EUR")
    assert list(refused.value.problems[0].field) == ["sequence", *at]
