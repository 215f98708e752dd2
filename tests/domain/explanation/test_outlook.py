"""The outlook: the instant at which the walk moves a pass if nothing happens, found without more reads than allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.definitions import Definitions
from app.domain.events.events import Event
from app.domain.explanation.outlook import MAX_OUTLOOK_DAYS, MAX_OUTLOOK_INSTANTS, Outlook, look_ahead
from app.domain.fold.copies import Found, Reading, TooMuchToRead, finish
from app.domain.fold.prefetch import build_page
from app.domain.passes.passes import Pass
from app.domain.rules.texts import PlainTexts
from app.domain.rules.triggers import SegmentTrigger
from app.domain.values.instants import DAY_MS
from tests.domain.fold.rule_walks import RuleSimulation, after_days, defined, fixed, rule, segment
from tests.domain.fold.test_advance import (
    START,
    PassSimulation,
    count_criteria,
    days_since_criteria,
    definitions_of,
    purchase_event,
    spent_criteria,
)

CRITERIA: tuple[dict[str, object], ...] = (
    count_criteria(3, within={"days": 7}),
    spent_criteria(25, within={"days": 4}),
    days_since_criteria(5),
    days_since_criteria(2, "EQ"),
    {"all": [count_criteria(1, within={"days": 9}), {"not": days_since_criteria(3)}]},
    count_criteria(9, metric="AVG", calendar={"unit": "WEEK", "offset": -2}),
    count_criteria(9, "LT", metric="MIN", calendar={"unit": "DAY", "offset": -12}),
    count_criteria(2, metric="COUNT_DISTINCT", field="source", calendar={"unit": "WEEK", "offset": -1}),
)


def read_from(counted: Sequence[Event], reading: Reading) -> Found:
    """Answer a read from a list of events."""
    pages = {
        key: build_page(reading.card, measure, after_ms, counted)
        for key, (measure, after_ms) in reading.windows.items()
    }
    return Found(history=counted if reading.history else None, pages=pages)


def outlook_of(simulation: PassSimulation, segment_id: str, now_ms: int) -> Outlook:
    version = simulation.definitions.latest_active.by_segment[segment_id]
    walk = look_ahead(simulation.card, simulation.definitions, segment_id, version.criteria, now_ms, texts=PlainTexts())
    return finish(walk, lambda reading: read_from(simulation.counted, reading))


def find_move(simulation: PassSimulation, segment_id: str, end_ms: int) -> int | None:
    """Walk the pass itself, and return when its membership changes."""
    was_member = segment_id in simulation.card.memberships
    while simulation.card.next_due_ms is not None and simulation.card.next_due_ms <= end_ms:
        before: Pass = simulation.card
        simulation.fold(simulation.card.next_due_ms)
        if (segment_id in simulation.card.memberships) != was_member:
            return simulation.card.evaluated_until_ms
        assert simulation.card != before
    return None


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 20 * DAY_MS), st.integers(1, 20)), max_size=12),
    st.sampled_from(range(len(CRITERIA))),
)
def test_outlook_is_the_instant_at_which_the_walk_moves_the_pass(purchases: list[tuple[int, int]], index: int) -> None:
    simulation = PassSimulation(definitions_of(*CRITERIA))
    now_ms = START + 20 * DAY_MS
    simulation.pending = [
        replace(purchase_event(i, START + at, Decimal(n)), source="shop" if n > 10 else "web")
        for i, (at, n) in enumerate(purchases)
    ]
    simulation.fold(now_ms)
    found = outlook_of(simulation, f"seg_{index}", now_ms)
    assert found.until_ms == find_move(simulation, f"seg_{index}", now_ms + 40 * DAY_MS)
    assert (found.stable_until_ms is None) == (found.until_ms is not None)


def test_window_with_more_events_than_it_lists_is_left_at_the_exact_instant() -> None:
    simulation = PassSimulation(definitions_of(count_criteria(40, within={"days": 30})))
    simulation.pending = [purchase_event(i, START + i * 1_000) for i in range(450)]
    now_ms = START + DAY_MS
    simulation.fold(now_ms)
    found = outlook_of(simulation, "seg_0", now_ms)
    assert found.until_ms == START + 410 * 1_000 + 30 * DAY_MS


def test_rules_and_points_move_a_pass_in_the_outlook() -> None:
    """The pass leaves "recent", a rule gives points for that, and the points expire."""
    recent = segment("recent", count_criteria(1, within={"days": 10}))
    rich = segment("rich", {"pass": {"field": "pointsBalance", "operator": "GTE", "value": 50}})
    back = rule("back", fixed(60, expiry=after_days(5)), trigger=SegmentTrigger("seg_recent", entered=False))
    simulation = RuleSimulation(defined(recent, rich, back))
    now_ms = START + 2 * DAY_MS
    simulation.play(purchase_event(1, START + DAY_MS), until_ms=now_ms)
    found = outlook_of(simulation, "seg_rich", now_ms)
    assert found.until_ms == START + 11 * DAY_MS
    assert found.instants == 1


@pytest.mark.parametrize("allowed", [0, 1])
def test_outlook_ends_where_it_would_read_too_much(allowed: int) -> None:
    simulation = PassSimulation(definitions_of(count_criteria(40, within={"days": 30}), count_criteria(3)))
    simulation.pending = [purchase_event(i, START + i * 1_000) for i in range(450)]
    now_ms = START + DAY_MS
    simulation.fold(now_ms)
    left = [allowed]

    def read(reading: Reading) -> Found:
        left[0] -= 1
        return read_from(simulation.counted, reading)

    version = simulation.definitions.latest_active.by_segment["seg_0"]
    walk = look_ahead(simulation.card, simulation.definitions, "seg_0", version.criteria, now_ms, texts=PlainTexts())
    reading = next(walk)
    found: Outlook | None = None
    try:
        while True:
            reading = walk.send(read(reading)) if left[0] else walk.throw(TooMuchToRead())
    except StopIteration as end:
        found = end.value
    assert found is not None
    assert found.until_ms is None
    assert found.stable_until_ms is not None
    assert now_ms <= found.stable_until_ms < START + 410 * 1_000 + 30 * DAY_MS


def test_outlook_visits_a_bounded_number_of_instants_and_years() -> None:
    changing = [days_since_criteria(days, "EQ") for days in range(1, 180)]
    simulation = PassSimulation(Definitions(definitions_of(count_criteria(1), *changing).versions))
    simulation.pending = [purchase_event(1, START)]
    simulation.fold(START)
    found = outlook_of(simulation, "seg_0", START)
    assert (found.until_ms, found.instants) == (None, 180)
    assert found.stable_until_ms == START + MAX_OUTLOOK_DAYS * DAY_MS
    halves = [days_since_criteria(days, "EQ", value=f"{days}.5") for days in range(1, 100)]
    simulation = PassSimulation(definitions_of(count_criteria(1), *changing[:150], *halves[:40]))
    simulation.pending = [purchase_event(1, START)]
    simulation.fold(START)
    found = outlook_of(simulation, "seg_0", START)
    assert found.instants <= MAX_OUTLOOK_INSTANTS
