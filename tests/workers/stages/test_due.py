"""Time alone moves passes, at the exact instant, and never by looking at all of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.domain.fold import advance
from tests.business import Business, bought_within, nothing_for

START = datetime(2026, 1, 1, tzinfo=UTC)


async def test_a_worker_that_was_down_still_gives_every_flip_its_instant(business: Business) -> None:
    recent, away = await business.segment("recent", bought_within(30)), await business.segment("away", nothing_for(60))
    for day in (1, 20, 100):
        business.clock.set(START + timedelta(days=day))
        await business.record({"amount": 1})
    business.clock.set(START + timedelta(days=300))
    await business.settle()
    days = [
        (a.segment_id, a.type.rsplit(".", 1)[1], (a.occurred_at - START).days)
        for a in await business.feed()
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
    told = [a.recorded_at for a in await business.feed(segment_ids=[recent.id, away.id])]
    assert set(told) == {START + timedelta(days=300)}


async def test_only_what_is_due_is_touched(business: Business) -> None:
    await business.segment("recent", bought_within(30))
    await business.record(
        {"amount": 1}, *({"amount": 1, "pass_external_id": f"p{i}", "type": "visit"} for i in range(30))
    )
    await business.settle()
    before = {doc["_id"]: doc["v"] async for doc in business.ctx.resources.db["passes"].find({}, {"v": 1})}
    business.clock.set(START + timedelta(days=31))
    await business.settle()
    after = {doc["_id"]: doc["v"] async for doc in business.ctx.resources.db["passes"].find({}, {"v": 1})}
    assert [pass_id for pass_id in before if after[pass_id] != before[pass_id]] == [(await business.card()).id]


async def test_a_pass_that_cannot_be_walked_is_parked_and_the_others_go_on(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await business.record({"amount": 1}, {"amount": 1, "pass_external_id": "bob"})
    bad = (await business.card()).id

    def broken(card, *args, **options):  # type: ignore[no-untyped-def]
        if card.id == bad:
            raise ArithmeticError("a sum of more than 34 digits")
        return advance.advance(card, *args, **options)

    with monkeypatch.context() as trouble:
        trouble.setattr("workers.stages.advance.advance", broken)
        for _ in range(5):
            await business.settle()
    assert (await business.card("bob")).aggregates["purchase", "USD"].count == 1
    assert (await business.card()).aggregates == {}
    assert await business.ctx.resources.db["events"].count_documents({"pend": {"$gte": 0}}) == 0
    [parked] = await business.ctx.resources.db["passes"].find({"parked": {"$gte": 0}}).to_list(None)
    assert (parked["_id"], parked["failure"]) == (bad, "ArithmeticError: a sum of more than 34 digits")
