"""The fold counts every event once, whatever dies between its steps."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.domain.activities import CREATED, CUSTOM_EVENT
from app.domain.events.receipts import RecordStatus
from app.flow import SLOT_RANGES
from tests.business import Business, bought_within, purchases, spent
from workers.stages.fold import fold_once


async def fold_all(business: Business) -> None:
    for key in SLOT_RANGES:
        while await fold_once(business.worker, key):
            pass


async def test_an_event_is_counted_in_its_pass_and_told_in_the_feed(business: Business) -> None:
    outcome = await business.record({"amount": "29.30", "external_id": "a"}, {"amount": 10, "currency": "EUR"})
    assert [r.status for r in outcome.results] == [RecordStatus.CREATED, RecordStatus.CREATED]
    await business.settle()
    card = await business.card()
    rows = {key: (row.count, row.sum) for key, row in card.aggregates.items()}
    assert rows == {("purchase", "USD"): (1, Decimal("29.30")), ("purchase", "EUR"): (1, Decimal(10))}
    feed = await business.feed()
    assert [(a.position, a.pass_sequence, a.type) for a in feed] == [
        (1, 1, CREATED),
        (2, 2, CUSTOM_EVENT),
        (3, 3, CUSTOM_EVENT),
    ]
    assert feed[1].data["event"]["amount"] == "29.30" or feed[2].data["event"]["amount"] == "29.30"  # type: ignore[index]


async def test_an_event_recorded_twice_counts_once(business: Business) -> None:
    for _ in range(2):
        await business.record({"amount": 5, "external_id": "a"}, {"amount": 7, "external_id": "b"})
        await business.settle()
    assert (await business.card()).aggregates["purchase", "USD"].sum == 12


@pytest.mark.parametrize("dies_before", ["save", "clear", "still_pending", "passes"])
async def test_a_fold_that_dies_at_any_step_counts_every_event_once(
    business: Business, monkeypatch: pytest.MonkeyPatch, dies_before: str
) -> None:
    await business.segment("two", purchases(2))
    await business.record({"amount": 5}, {"amount": 7, "pass_external_id": "bob"}, {"amount": 1})

    class Killed(BaseException):
        pass

    async def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(business.worker.fold_queries, dies_before, killed)
        for key in SLOT_RANGES:
            try:
                await fold_once(business.worker, key)
            except Killed:
                continue
    await business.record({"amount": 100})
    await business.settle()
    assert (await business.card("ann")).aggregates["purchase", "USD"].sum == 106
    assert (await business.card("bob")).aggregates["purchase", "USD"].sum == 7
    assert await business.ctx.resources.db["events"].count_documents({"pend": {"$gte": 0}}) == 0


async def test_two_workers_that_fold_the_same_events_at_once_count_them_once(business: Business) -> None:
    from workers.worker import Worker

    others = [Worker.on(business.ctx.resources) for _ in range(3)]
    for turn in range(5):
        await business.record(*({"amount": 1, "pass_external_id": f"p{i % 7}"} for i in range(60)))
        await asyncio.gather(*(fold_once(w, key) for w in [business.worker, *others] for key in SLOT_RANGES))
        await business.settle()
        cards = [await business.card(f"p{i}") for i in range(7)]
        assert sum(card.aggregates["purchase", "USD"].count for card in cards) == 60 * (turn + 1)
    feed = await business.feed()
    assert [a.position for a in feed] == list(range(1, len(feed) + 1))


async def test_a_backlog_longer_than_a_round_is_folded_whole(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.stages.fold.FOLD_BATCH_SIZE", 200)
    monkeypatch.setattr("workers.stages.fold.MAX_EVENTS_PER_PASS", 100)
    for start in range(0, 600, 200):
        await business.record(*({"amount": 1, "external_id": str(i)} for i in range(start, start + 200)))
    await business.settle()
    card = await business.card()
    assert (card.aggregates["purchase", "USD"].count, card.last_activity) == (600, 601)
    assert len(await business.feed()) == 601


async def test_a_pass_enters_by_event_and_leaves_by_time_at_the_exact_instant(business: Business) -> None:
    segment = await business.segment("recent", bought_within(30))
    start = datetime(2026, 1, 1, tzinfo=UTC)
    business.clock.set(start + timedelta(days=1))
    await business.record({"amount": 1, "occurred_at": "2026-01-02T00:00:00Z"})
    await business.settle()
    assert await business.members(segment) == ["ann"]
    business.clock.set(start + timedelta(days=100))
    await business.settle()
    assert await business.members(segment) == []
    told = [
        (a.type.rsplit(".", 1)[1], a.occurred_at, a.cause["kind"])
        for a in await business.feed(segment_ids=[segment.id])
    ]
    assert told == [
        ("entered", start + timedelta(days=1), "EVENT"),
        ("left", start + timedelta(days=31), "TIME"),
    ]


async def test_a_new_segment_is_filled_from_history_in_silence(business: Business) -> None:
    await business.record(
        *({"amount": 100, "pass_external_id": f"p{i}"} for i in range(5)), {"amount": 150, "pass_external_id": "p0"}
    )
    await business.settle()
    rich = await business.segment("rich", spent(200))
    recent = await business.segment("recent", spent(200, days=30))
    assert await business.members(rich) == await business.members(recent) == ["p0"]
    assert await business.ctx.workspace.segments.evaluated_counts([rich.revision]) == {rich.revision: (5, 5)}
    assert await business.feed(segment_ids=[rich.id]) == []
    [entered] = await business.feed(segment_ids=[rich.id], include_silent=True)
    assert entered.cause == {"kind": "BACKFILL", "version": 1}
