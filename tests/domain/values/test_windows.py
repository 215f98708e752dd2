"""Windows that list far fewer expiring events than they count."""

from __future__ import annotations

from decimal import Decimal
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.definitions import Definitions
from app.domain.segments.parsing import parse_criteria
from app.domain.segments.segments import Version
from app.domain.values.instants import DAY_MS, from_ms
from tests import oracle
from tests.domain.fold.test_advance import (
    START,
    PassSimulation,
    count_criteria,
    definitions_of,
    purchase_event,
    spent_criteria,
)


@pytest.fixture(scope="module", autouse=True)
def _two_expiring_events() -> object:
    names = ("app.domain.state.windows", "app.domain.state.refilling")
    patches = [patch(f"{name}.MAX_EXPIRING", 2) for name in names]
    for each in patches:
        each.start()
    yield
    for each in patches:
        each.stop()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 100), st.booleans()), max_size=25))
def test_short_list_of_expiring_events_gives_exact_transitions(schedule: list[tuple[int, bool]]) -> None:
    criteria = count_criteria(4, within={"days": 5}), spent_criteria(30, within={"days": 9})
    simulation, now = PassSimulation(definitions_of(*criteria)), START
    occurred = []
    for i, (quarters, folds) in enumerate(schedule):
        now += quarters * DAY_MS // 4 if quarters > 10 else quarters * DAY_MS // 24
        simulation.pending.append(purchase_event(i, now))
        occurred.append(oracle.OracleEvent(now, Decimal(10)))
        if folds:
            simulation.fold_until(now)
    end = now + 20 * DAY_MS
    simulation.fold_until(end)
    assert simulation.transitions("seg_0") == oracle.list_transitions(occurred, START, end, oracle.at_least(4, 5), [5])
    spent = oracle.spent_within(Decimal(30), 9)
    assert simulation.transitions("seg_1") == oracle.list_transitions(occurred, START, end, spent, [9])


def test_list_whose_events_all_expired_is_emptied_before_it_is_cut() -> None:
    simulation = PassSimulation(definitions_of(count_criteria(4, within={"days": 20})))
    for day in (0, 2, 3):
        simulation.pending.append(purchase_event(day, START + day * DAY_MS + 1))
        simulation.fold_until(START + day * DAY_MS + 1)
    for day in (30, 40, 41):
        simulation.pending.append(purchase_event(day, START + day * DAY_MS))
    simulation.fold_until(START + 60 * DAY_MS)
    assert simulation.transitions("seg_0") == []


def test_measure_that_a_revision_dropped_is_rebuilt_from_history_when_needed_again() -> None:
    recent = parse_criteria(count_criteria(1, within={"days": 30}), "USD")
    other = parse_criteria(count_criteria(50), "USD")
    first, *later = (
        Version("seg_0", rev, rev, criteria=tree, timezone="UTC", archived=False, notify="EMIT", at=from_ms(at))
        for rev, tree, at in ((1, recent, START - 1), (2, other, START + DAY_MS), (3, recent, START + 2 * DAY_MS))
    )
    simulation = PassSimulation(Definitions([first]))
    simulation.pending.append(purchase_event(0, START + 1))
    simulation.fold_until(START + 1)
    simulation.definitions = Definitions([first, *later])
    simulation.fold_until(START + 5 * DAY_MS)
    assert simulation.transitions("seg_0") == [(START + 1, True), (START + DAY_MS, False), (START + 2 * DAY_MS, True)]
