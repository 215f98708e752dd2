"""Replays, compared with a rebuild from all events: parts, order and copies on the way do not matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.events.events import Category, Event
from app.domain.events.ordering import complete_orders
from app.domain.passes.passes import Profile
from app.domain.passes.profiles import rebuild_profile, replay_profile
from app.domain.state.accounts import AccountReplay, rebuild_account
from app.domain.state.points import PointsAccount
from app.domain.values.instants import DAY_MS
from tests.domain.fold.test_advance import PassSimulation, count_criteria, definitions_of, new_pass, purchase_event
from tests.domain.state.test_points import START, event, histories, on

COPIES = "app.domain.events.replays.MIN_BETWEEN_COPIES"
WALK = "app.domain.fold.walk.MAX_WALK_COMPARISONS"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories().map(complete_orders), st.data())
def test_replay_of_points_equals_the_rebuilt_account_after_each_part(
    monkeypatch: pytest.MonkeyPatch, events: list[Event], data: st.DataObject
) -> None:
    monkeypatch.setattr(COPIES, 1)
    drawn = data.draw(st.permutations(events))
    joined = data.draw(st.integers(0, len(drawn)))
    replay = AccountReplay(drawn[:joined])
    while True:
        day = data.draw(st.integers(30, 60))
        account, expired = replay.rebuild(START + day * DAY_MS)
        expected, expected_expired = rebuild_account(drawn[:joined], START + day * DAY_MS)
        assert (account.balance, account.lots, account.pending) == (expected.balance, expected.lots, expected.pending)
        assert expired == expected_expired
        assert account.next_change_ms() == expected.next_change_ms()
        # What counts on the account afterwards does not change what the replay returns next.
        account.count(event("later", 61, -5))
        if joined == len(drawn):
            return
        size = data.draw(st.integers(1, 5))
        if not replay.join(drawn[joined : joined + size]):
            replay = AccountReplay(drawn[: joined + size])
        joined = min(joined + size, len(drawn))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(12)), st.integers(1, 4))
def test_replay_of_a_profile_equals_the_rebuilt_profile(
    monkeypatch: pytest.MonkeyPatch, days: Sequence[int], size: int
) -> None:
    monkeypatch.setattr(COPIES, 1)
    events = [change(i, day) for i, day in enumerate(days)]
    replay = replay_profile(Profile(), events[:size])
    for joined in range(size, len(events), size):
        assert replay.run() == rebuild_profile(Profile(), events[:joined])
        assert replay.join(events[joined : joined + size])
    assert replay.run() == rebuild_profile(Profile(), events)


def change(i: int, day: int) -> Event:
    changed = {"type": "field_updated", "category": Category.FIELD_CHANGE, "field_name": f"f{day % 3}", "new_value": i}
    return replace(event(f"e{i}", day), **changed)  # type: ignore[arg-type]


def test_event_that_joins_near_the_end_takes_few_steps_of_a_long_history() -> None:
    """100 events that join among the last 100 of 4,000 take at most two hundred steps each."""
    replay = AccountReplay([event(f"e{i:04}", i, 1, on(i + 900)) for i in range(4_000)])
    replay.rebuild(START + 5_000 * DAY_MS)
    replay.take_examined()
    for i in range(100):
        assert replay.join([event(f"late{i}", 3_900 + i, 1)])
        replay.rebuild(START + 5_000 * DAY_MS)
    assert replay.take_examined() <= 100 * 200


def late_points(days: range, number: int) -> PassSimulation:
    """Return a pass with an event on each day, and late events with points that are pending, each of its own instant."""
    simulation = PassSimulation(definitions_of(count_criteria(3), at_ms=START - 1), new_pass(START))
    simulation.pending = [event(f"e{day:04}", day, day % 20 == 0, on(9_000) if day % 20 == 0 else None) for day in days]
    simulation.fold_until(START + days.stop * DAY_MS)
    at_ms = START + days.stop * DAY_MS + DAY_MS
    late = [purchase_event(i, START + i * DAY_MS, recorded_ms=at_ms + i) for i in range(number)]
    simulation.pending = [replace(each, points=Decimal(1)) for each in late]
    return simulation


def test_late_events_with_points_do_not_count_events_without_points_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 20 late events has an instant of its own. Of 1,000 events, 50 have points."""
    simulation, counted, count = late_points(range(1_000), 20), list[str](), PointsAccount.count

    def count_noted(account: PointsAccount, counting: Event) -> None:
        counted.append(counting.id)
        count(account, counting)

    monkeypatch.setattr(PointsAccount, "count", count_noted)
    simulation.fold(START + 1_002 * DAY_MS)
    assert not simulation.pending
    assert simulation.card.points == 50 + 20
    assert len(counted) <= 20 * (50 + 20)


def test_walk_over_late_events_stops_after_a_number_of_examined_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next round goes on, and nothing is lost."""
    simulation = late_points(range(0, 1_000, 20), 20)
    monkeypatch.setattr(WALK, 200)
    simulation.fold(START + 1_002 * DAY_MS)
    assert 10 <= len(simulation.pending) < 20
    simulation.fold_until(START + 1_002 * DAY_MS)
    assert simulation.card.points == 50 + 20
