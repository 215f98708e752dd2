"""Reads of events for questions about customers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.clock import FixedClock
from app.domain.errors import Code, InvalidInput
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import Category, Event
from app.domain.insights.moments import Moment
from app.domain.values.instants import LATEST
from app.resources import Resources
from app.store.workspace import moments
from app.store.workspace.moments import MomentsRead
from app.store.workspace.waiting import Waiting
from tests.business import Business, open_business

from .counted import store_events


@pytest.fixture
async def business(resources: Resources, clock: FixedClock) -> Business:
    """Record five purchases at three instants, a visit and a change of the pass."""
    business = await open_business(resources, clock)
    instants = ["2025-03-01T10:00:00Z", "2025-03-01T10:00:00Z", "2025-03-01T10:00:00Z", "2025-03-02T10:00:00Z"]
    items = [{"occurred_at": at, "amount": str(number + 1)} for number, at in enumerate(instants)]
    await business.record(*items, {"occurred_at": "2024-03-01T10:00:00Z", "amount": "5", "currency": "JPY"})
    await business.record({"type": "visit", "occurred_at": "2025-04-01T10:00:00Z"})
    return business


async def read(business: Business, query: EventQuery, max_events: int = 100, **options: str) -> list[Moment]:
    found: list[Moment] = []
    answer = await business.ctx.workspace.moments.read_moments(query, found.extend, max_events, **options)
    assert answer == MomentsRead(len(found), Waiting())
    return sorted(found, key=lambda each: each.order)


async def test_events_are_read_in_parts_of_any_size(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = await read(business, EventQuery())
    assert [each.amount for each in whole if each.at_ms == whole[-2].at_ms] == [4]
    assert [each.type for each in whole] == ["purchase"] * 5 + ["visit"]
    assert whole[0]._replace(id="", pass_id="", at_ms=0) == Moment(
        "",
        0,
        0,
        id="",
        type="purchase",
        category=Category.TRANSACTION,
        currency="JPY",
        amount=whole[0].amount,
        made=False,
    )
    for size in (1, 2, 3):
        monkeypatch.setattr(moments, "MOMENTS_PER_READ", size)
        assert await read(business, EventQuery()) == whole
        assert await read(business, EventQuery(types=("visit",))) == whole[-1:]


async def test_transactions_in_a_currency_match_beside_the_types(business: Business) -> None:
    visits = EventQuery(types=("visit",))
    assert [each.type for each in await read(business, visits, spend_in="JPY")] == ["purchase", "visit"]
    both = replace(visits, types=("visit", "scan"))
    assert [each.type for each in await read(business, both, spend_in="EUR")] == ["visit"]


async def test_more_events_than_a_question_reads_are_refused_with_advice(business: Business) -> None:
    assert len(await read(business, EventQuery(), 6)) == 6
    with pytest.raises(InvalidInput) as refused:
        await read(business, EventQuery(), 5)
    assert refused.value.problems[0].code is Code.LIMIT


async def test_events_that_wait_for_a_decision_are_left_out_and_counted(business: Business) -> None:
    await business.run_worker()
    purchase = next(each for each in await read(business, EventQuery()) if each.amount == 4)
    await business.record({"type": "refund", "amount": "1", "correction_of": purchase.id})
    store, found = business.ctx.workspace.moments, list[Moment]()
    answer = await store.read_moments(EventQuery(types=("refund",)), found.extend, 100)
    assert (answer.number, answer.waiting.number, found) == (1, 1, [])
    assert answer.waiting.oldest_at == await business.ctx.now()
    assert await store.acted_before([purchase.pass_id], ["refund"], LATEST) == set()
    await business.run_worker()
    assert [each.amount for each in await read(business, EventQuery(types=("refund",)))] == [1]
    assert await store.acted_before([purchase.pass_id], ["refund"], LATEST) == {purchase.pass_id}


async def test_passes_that_acted_before_an_instant_are_found_by_type(business: Business) -> None:
    store = business.ctx.workspace.moments
    [visit] = await read(business, EventQuery(types=("visit",)))
    ids = [visit.pass_id, "pass_none"]
    before = {"purchase": datetime(2024, 3, 1, 10, tzinfo=UTC), "visit": datetime(2025, 4, 1, 10, tzinfo=UTC)}
    for kind, at in before.items():
        assert await store.acted_before(ids, [kind], at) == set()
        assert await store.acted_before(ids, [kind], at + timedelta(milliseconds=1)) == {visit.pass_id}
    assert await store.acted_before(ids, [], before["visit"]) == {visit.pass_id}
    assert await store.acted_before(ids, [], before["purchase"]) == set()


async def test_moments_of_the_store_are_those_of_the_events_that_count(resources: Resources, clock: FixedClock) -> None:
    business = await open_business(resources, clock, "Events of all kinds")
    events = await store_events(business, 400)
    low, high = datetime(2022, 1, 1, tzinfo=UTC), datetime(2025, 10, 26, tzinfo=UTC)
    for types, spend_in in (((), None), (("purchase",), None), (("purchase", "visit"), None), (("visit",), "EUR")):
        query = EventQuery(types=types, occurred_after=low, occurred_before=high)
        options = {} if spend_in is None else {"spend_in": spend_in}
        matching = [
            event
            for event in events
            if low <= event.occurred_at < high
            and (
                not types
                or event.type in types
                or (event.category is Category.TRANSACTION and spend_in is not None and event.currency == spend_in)
            )
        ]
        found: list[Moment] = []
        await business.ctx.workspace.moments.read_moments(query, found.extend, 1_000, **options)
        assert sorted(found, key=lambda each: each.order) == sorted(
            map(moment_of, matching), key=lambda each: each.order
        )
        acted = {event.pass_id for event in events if (event.type in types if types else not event.is_made)}
        passes = {event.pass_id for event in events}
        assert await business.ctx.workspace.moments.acted_before(passes, types, LATEST) == acted
        early = {e.pass_id for e in events if e.occurred_at < low and (e.type in types if types else not e.is_made)}
        assert await business.ctx.workspace.moments.acted_before(passes, types, low) == early


def moment_of(event: Event) -> Moment:
    """Return the moment of an event."""
    return Moment(
        event.pass_id,
        event.occurred_ms,
        event.step,
        id=event.id,
        type=event.type,
        category=event.category,
        currency=event.currency,
        amount=event.amount,
        made=event.is_made,
    )
