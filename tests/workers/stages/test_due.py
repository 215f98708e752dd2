"""Due: time alone changes memberships at the exact instant, and only due passes are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.domain.fold import advance
from tests.business import Business, bought_within, no_purchase_for

START = datetime(2026, 1, 1, tzinfo=UTC)


async def test_worker_that_was_down_gives_every_transition_its_instant(business: Business) -> None:
    recent, away = (
        await business.create_segment("recent", bought_within(30)),
        await business.create_segment("away", no_purchase_for(60)),
    )
    for day in (1, 20, 100):
        business.clock.set(START + timedelta(days=day))
        await business.record({"amount": 1})
    business.clock.set(START + timedelta(days=300))
    await business.run_worker()
    days = [
        (a.segment_id, a.type.rsplit(".", 1)[1], (a.occurred_at - START).days)
        for a in await business.read_log()
        if a.segment_id
    ]
    assert days == [
        (recent.id, "entered", 1),
        (recent.id, "left", 50),
        (away.id, "entered", 80),
        (recent.id, "entered", 100),
        (away.id, "left", 100),
        (recent.id, "left", 130),
        (away.id, "entered", 160),
    ]
    recorded = [a.recorded_at for a in await business.read_log(segment_ids=[recent.id, away.id])]
    assert set(recorded) == {START + timedelta(days=300)}


async def test_only_due_passes_are_written(business: Business) -> None:
    await business.create_segment("recent", bought_within(30))
    await business.record(
        {"amount": 1}, *({"amount": 1, "pass_external_id": f"p{i}", "type": "visit"} for i in range(30))
    )
    await business.run_worker()
    before = {doc["_id"]: doc["v"] async for doc in business.ctx.resources.db["passes"].find({}, {"v": 1})}
    business.clock.set(START + timedelta(days=31))
    await business.run_worker()
    after = {doc["_id"]: doc["v"] async for doc in business.ctx.resources.db["passes"].find({}, {"v": 1})}
    assert [pass_id for pass_id in before if after[pass_id] != before[pass_id]] == [(await business.read_pass()).id]


async def test_gaps_in_the_list_of_a_window_are_read_before_it_is_needed(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, limit in (("MAX_CANDIDATES", 4), ("NEXT_CANDIDATES", 2)):
        monkeypatch.setattr(f"app.domain.state.extremes.{name}", limit)
    monkeypatch.setattr("app.store.stages.histories.HISTORY_BATCH_SIZE", 3)
    smallest = {"types": ["purchase"], "metric": "MIN", "within": {"hours": 24}}
    high = await business.create_segment("high", {"event": {**smallest, "value": 31}})
    low = await business.create_segment("low", {"event": {**smallest, "operator": "LTE", "value": 10}})
    for hour in range(40):
        business.clock.set(START + timedelta(hours=hour))
        await business.record({"amount": hour + 1})
        if hour % 5 == 0:
            await business.run_worker()
    business.clock.set(START + timedelta(days=5))
    await business.run_worker()
    hours = [
        (a.segment_id, a.type.rsplit(".", 1)[1], (a.occurred_at - START) / timedelta(hours=1), a.data["after"])
        for a in await business.read_log()
        if a.segment_id
    ]
    # The amount of hour N is N + 1, and leaves the window 24 hours later.
    assert hours == [
        (low.id, "entered", 0, [1]),
        (low.id, "left", 10 + 24 - 1, [11]),
        (high.id, "entered", 29 + 24, [31]),
        (high.id, "left", 39 + 24, [None]),
    ]


async def test_late_step_of_a_sequence_makes_the_worker_read_the_history(business: Business) -> None:
    steps = [{"event": {"types": ["purchase"]}}, {"event": {"types": ["visit"]}, "withinDays": 3}]
    segment = await business.create_segment("came_back", {"sequence": {"steps": steps, "within": {"days": 10}}})
    business.clock.set(START + timedelta(days=5))
    await business.record({"type": "visit"})
    await business.run_worker()
    assert await business.read_members(segment) == []
    business.clock.set(START + timedelta(days=6))
    await business.record({"amount": 1, "occurred_at": (START + timedelta(days=3)).isoformat()})
    await business.run_worker()
    assert await business.read_members(segment) == ["ann"]
    business.clock.set(START + timedelta(days=20))
    await business.run_worker()
    found = [
        (a.data["before"], a.data["after"], (a.occurred_at - START).days)
        for a in await business.read_log()
        if a.segment_id
    ]
    assert found == [([0], [2], 6), ([2], [0], 15)]


async def test_pass_that_fails_to_advance_is_parked_and_others_continue(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await business.record({"amount": 1}, {"amount": 1, "pass_external_id": "bob"})
    failing = (await business.read_pass()).id

    def fail_for_one_pass(card, *args, **options):  # type: ignore[no-untyped-def]
        if card.id == failing:
            raise ArithmeticError("a sum of more than 34 digits")
        return advance.advance(card, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr("workers.stages.advance.advance", fail_for_one_pass)
        for _ in range(5):
            await business.run_worker()
    assert (await business.read_pass("bob")).aggregates["purchase", "USD"].count == 1
    assert (await business.read_pass()).aggregates == {}
    assert await business.ctx.resources.db["events"].count_documents({"pend": {"$gte": 0}}) == 0
    [parked] = await business.ctx.resources.db["passes"].find({"parked": {"$gte": 0}}).to_list(None)
    assert (parked["_id"], parked["failure"]) == (failing, "ArithmeticError: a sum of more than 34 digits")
