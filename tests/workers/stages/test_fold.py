"""The fold counts every event once, although it crashes at any step or runs in several workers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.domain.activities import CREATED, CUSTOM_EVENT
from app.domain.definitions import Definitions
from app.domain.events.events import Event
from app.domain.events.receipts import RecordStatus
from app.domain.fold.advance import Advanced, advance
from app.domain.fold.lacks import Lacks
from app.domain.ids import slot_of
from app.domain.passes.passes import Pass
from app.flow import SLOT_RANGES, bounds_of, range_of
from app.store.operations.parked_passes import ParkedPasses
from app.store.stages.pending import PendingEvent
from tests.business import Business, bought_within, purchases, spent
from tests.crashes import Crash
from workers.stages.fold import fold_once
from workers.worker import Worker


async def fold_all(business: Business) -> None:
    for key in SLOT_RANGES:
        while await fold_once(business.worker, key):
            pass


async def test_event_is_counted_in_its_pass_and_published_once(business: Business) -> None:
    outcome = await business.record({"amount": "29.30", "external_id": "a"}, {"amount": 10, "currency": "EUR"})
    assert [r.status for r in outcome.results] == [RecordStatus.CREATED, RecordStatus.CREATED]
    await business.run_worker()
    card = await business.read_pass()
    rows = {key: (row.count, row.sum) for key, row in card.aggregates.items()}
    assert rows == {("purchase", "USD"): (1, Decimal("29.30")), ("purchase", "EUR"): (1, Decimal(10))}
    feed = await business.read_log()
    assert [(a.position, a.pass_sequence, a.type) for a in feed] == [
        (1, 1, CREATED),
        (2, 2, CUSTOM_EVENT),
        (3, 3, CUSTOM_EVENT),
    ]
    assert "29.30" in [activity.data["event"]["amount"] for activity in feed[1:]]  # type: ignore[index]


async def test_event_recorded_twice_counts_once(business: Business) -> None:
    for _ in range(2):
        await business.record({"amount": 5, "external_id": "a"}, {"amount": 7, "external_id": "b"})
        await business.run_worker()
    assert (await business.read_pass()).aggregates["purchase", "USD"].sum == 12


@pytest.mark.parametrize("step", ["save", "clear", "still_pending", "passes"])
async def test_fold_that_crashes_before_any_step_counts_every_event_once(
    business: Business, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await business.create_segment("two", purchases(2))
    await business.record({"amount": 5}, {"amount": 7, "pass_external_id": "bob"}, {"amount": 1})

    async def crash(*_: Any, **__: Any) -> None:
        raise Crash

    with monkeypatch.context() as crashing:
        crashing.setattr(business.worker.fold_queries, step, crash)
        for key in SLOT_RANGES:
            try:
                await fold_once(business.worker, key)
            except Crash:
                continue
    await business.record({"amount": 100})
    await business.run_worker()
    assert (await business.read_pass("ann")).aggregates["purchase", "USD"].sum == 106
    assert (await business.read_pass("bob")).aggregates["purchase", "USD"].sum == 7
    assert await business.ctx.resources.db["events"].count_documents({"pend": {"$gte": 0}}) == 0


async def test_read_older_than_the_own_writes_of_a_worker_lets_it_count_nothing_twice(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an election, a majority read may show events as pending that this worker has counted and cleared."""
    await business.record({"amount": 1, "external_id": "first"})
    key = range_of(slot_of((await business.read_pass()).id))
    old = await business.worker.fold_queries.pending(*bounds_of(key), None, 1_000)
    await fold_once(business.worker, key)
    await business.record({"amount": 1, "external_id": "second"})
    await fold_once(business.worker, key)

    async def read_old_state(*_: object, **__: object) -> list[PendingEvent]:
        return old

    with monkeypatch.context() as lagging:
        lagging.setattr(business.worker.fold_queries, "pending", read_old_state)
        await fold_once(business.worker, key)
    assert (await business.read_pass()).aggregates["purchase", "USD"].count == 2


async def test_concurrent_folds_of_the_same_events_count_them_once(business: Business) -> None:
    others = [Worker.on(business.ctx.resources) for _ in range(3)]
    for number in range(5):
        await business.record(*({"amount": 1, "pass_external_id": f"p{i % 7}"} for i in range(60)))
        await asyncio.gather(*(fold_once(w, key) for w in [business.worker, *others] for key in SLOT_RANGES))
        await business.run_worker()
        cards = [await business.read_pass(f"p{i}") for i in range(7)]
        assert sum(card.aggregates["purchase", "USD"].count for card in cards) == 60 * (number + 1)
    feed = await business.read_log()
    assert [a.position for a in feed] == list(range(1, len(feed) + 1))


async def test_backlog_longer_than_a_round_is_folded_completely(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.stages.fold.FOLD_BATCH_SIZE", 200)
    monkeypatch.setattr("workers.stages.fold.MAX_EVENTS_PER_PASS", 100)
    for start in range(0, 600, 200):
        await business.record(*({"amount": 1, "external_id": str(i)} for i in range(start, start + 200)))
    await business.run_worker()
    card = await business.read_pass()
    assert (card.aggregates["purchase", "USD"].count, card.last_activity) == (600, 601)
    assert len(await business.read_log()) == 601


async def test_pass_enters_by_event_and_leaves_by_time_at_the_exact_instant(business: Business) -> None:
    segment = await business.create_segment("recent", bought_within(30))
    start = datetime(2026, 1, 1, tzinfo=UTC)
    business.clock.set(start + timedelta(days=1))
    await business.record({"amount": 1, "occurred_at": "2026-01-02T00:00:00Z"})
    await business.run_worker()
    assert await business.read_members(segment) == ["ann"]
    business.clock.set(start + timedelta(days=100))
    await business.run_worker()
    assert await business.read_members(segment) == []
    transitions = [
        (a.type.rsplit(".", 1)[1], a.occurred_at, a.cause["kind"])
        for a in await business.read_log(segment_ids=[segment.id])
    ]
    assert transitions == [
        ("entered", start + timedelta(days=1), "EVENT"),
        ("left", start + timedelta(days=31), "TIME"),
    ]


async def test_new_segment_is_filled_from_history_silently(business: Business) -> None:
    await business.record(
        *({"amount": 100, "pass_external_id": f"p{i}"} for i in range(5)), {"amount": 150, "pass_external_id": "p0"}
    )
    await business.run_worker()
    rich = await business.create_segment("rich", spent(200))
    recent = await business.create_segment("recent", spent(200, days=30))
    assert await business.read_members(rich) == await business.read_members(recent) == ["p0"]
    assert await business.ctx.workspace.segments.evaluated_counts([rich.revision]) == {rich.revision: (5, 5)}
    assert await business.read_log(segment_ids=[rich.id]) == []
    [entered] = await business.read_log(segment_ids=[rich.id], include_silent=True)
    assert entered.cause == {"kind": "BACKFILL", "version": 1}


async def test_successful_fold_resets_the_count_of_failures(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four failures, a success and four failures are not five in a row."""

    async def fail_for_visits(times: int) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("workers.stages.advance.advance", _fail_for_visits)
            for _ in range(times):
                await fold_all(business)

    passes = business.ctx.resources.db["passes"]
    for _ in range(2):
        await business.record({"type": "visit"})
        await fail_for_visits(4)
        [failing] = await passes.find({}).to_list(None)
        assert (failing["fails"], failing["failure"]) == (4, "ArithmeticError: no")
        await fold_all(business)
        [folded] = await passes.find({}).to_list(None)
        assert not {"fails", "failure", "parked"} & folded.keys()
    await business.record({"type": "visit"})
    await fail_for_visits(5)
    [parked] = await passes.find({}).to_list(None)
    assert {"fails", "failure", "parked"} <= parked.keys()


async def test_event_that_folds_on_a_parked_pass_keeps_it_listed(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await business.record({"type": "visit"})
    with monkeypatch.context() as patch:
        patch.setattr("workers.stages.advance.advance", _fail_for_visits)
        for _ in range(5):
            await fold_all(business)
        await business.record({"amount": 3})
        await fold_all(business)
    [parked] = await business.ctx.resources.db["passes"].find({}).to_list(None)
    assert (parked["failure"], "parked" in parked) == ("ArithmeticError: no", True)
    assert (await business.read_pass()).aggregates["purchase", "USD"].sum == 3


async def test_backfill_leaves_parked_passes_to_their_release(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events of a parked pass wait, so a backfill would evaluate the pass past them."""
    await business.record({"amount": 1})
    await business.run_worker()
    await business.record({"type": "visit"}, {"amount": 2})
    with monkeypatch.context() as patch:
        patch.setattr("workers.stages.advance.advance", _fail_for_visits)
        for _ in range(5):
            await business.run_worker()
    before = await business.read_pass()
    two = await business.create_segment("two", purchases(2))
    assert await business.read_pass() == before
    assert await business.worker.fold_queries.workspaces_behind() == {}
    parked_passes = ParkedPasses(business.ctx.resources.db)
    [parked] = await parked_passes.passes()
    await parked_passes.release(parked, await business.clock.now())
    await business.run_worker()
    assert await business.read_members(two) == ["ann"]


def _fail_for_visits(
    card: Pass, definitions: Definitions, events: Sequence[Event] = (), **options: Any
) -> Advanced | Lacks:
    if any(event.type == "visit" for event in events):
        raise ArithmeticError("no")
    return advance(card, definitions, events, **options)
