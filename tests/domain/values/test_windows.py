"""Windows that list far fewer leavers than they hold, whatever was dropped and asked for again on the way."""

from __future__ import annotations

from decimal import Decimal
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.segments.criteria import parse_criteria
from app.domain.segments.segments import Definitions, Version
from app.domain.values.instants import DAY_MS, from_ms
from tests import oracle
from tests.domain.fold.test_advance import START, World, count, defined, purchase, spent


@pytest.fixture(scope="module", autouse=True)
def _lists_of_two() -> object:
    names = ("app.domain.state.measures", "app.domain.fold.derived", "tests.domain.fold.test_advance")
    patches = [patch(f"{name}.MAX_EXPIRING", 2) for name in names]
    for each in patches:
        each.start()
    yield
    for each in patches:
        each.stop()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 100), st.booleans()), max_size=25))
def test_a_short_list_of_leavers_gives_the_same_flips(schedule: list[tuple[int, bool]]) -> None:
    world, now = World(defined(count(4, within={"days": 5}), spent(30, within={"days": 9}))), START
    happened = []
    for i, (quarters, settles) in enumerate(schedule):
        now += quarters * DAY_MS // 4 if quarters > 10 else quarters * DAY_MS // 24
        world.pending.append(purchase(i, now))
        happened.append(oracle.Happening(now, Decimal(10)))
        if settles:
            world.settle(now)
    end = now + 20 * DAY_MS
    world.settle(end)
    assert world.flips("seg_0") == oracle.flips(happened, START, end, oracle.at_least(4, 5), [5])
    assert world.flips("seg_1") == oracle.flips(happened, START, end, oracle.spent_within(Decimal(30), 9), [9])


def test_a_list_that_was_continued_and_outlived_is_emptied_before_it_is_cut() -> None:
    world = World(defined(count(4, within={"days": 20})))
    for day in (0, 2, 3):
        world.pending.append(purchase(day, START + day * DAY_MS + 1))
        world.settle(START + day * DAY_MS + 1)
    for day in (30, 40, 41):
        world.pending.append(purchase(day, START + day * DAY_MS))
    world.settle(START + 60 * DAY_MS)
    assert world.flips("seg_0") == []


def test_a_measure_dropped_by_one_revision_and_asked_for_by_a_later_one_is_built_from_history() -> None:
    recent = parse_criteria(count(1, within={"days": 30}), "USD")
    other = parse_criteria(count(50), "USD")
    first, *later = (
        Version("seg_0", rev, rev, tree, "UTC", False, "EMIT", from_ms(at))
        for rev, tree, at in ((1, recent, START - 1), (2, other, START + DAY_MS), (3, recent, START + 2 * DAY_MS))
    )
    world = World(Definitions([first]))
    world.pending.append(purchase(0, START + 1))
    world.settle(START + 1)
    world.definitions = Definitions([first, *later])
    world.settle(START + 5 * DAY_MS)
    assert world.flips("seg_0") == [(START + 1, True), (START + DAY_MS, False), (START + 2 * DAY_MS, True)]
