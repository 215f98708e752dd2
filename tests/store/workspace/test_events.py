"""Lists of events: whatever is asked for together, each page is what sorting everything would give."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.domain.errors import Code, InvalidInput
from app.domain.events.events import Category, Event, EventQuery
from app.domain.events.tombstones import Tombstone
from app.domain.values.conditions import Condition, Operator
from app.domain.values.instants import to_ms
from app.store.mongo import time_ranges as strides
from app.store.mongo.paging import Page, PageRequest, page_of
from app.store.mongo.time_ranges import ScanPosition
from tests.business import Business

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
PARTS: dict[str, tuple[Any, Callable[[Event], bool]]] = {
    "categories": ((Category.ACTIVITY,), lambda e: e.category is Category.ACTIVITY),
    "types": (("purchase",), lambda e: e.type == "purchase"),
    "types ": (("visit", "refund"), lambda e: e.type in ("visit", "refund")),
    "sources": (("till", "web"), lambda e: e.source in ("till", "web")),
    "currency": ("EUR", lambda e: e.currency == "EUR"),
    "occurred_after": (BEGIN + timedelta(days=9), lambda e: e.occurred_at >= BEGIN + timedelta(days=9)),
    "occurred_before": (BEGIN + timedelta(days=200), lambda e: e.occurred_at < BEGIN + timedelta(days=200)),
    "recorded_after": (BEGIN + timedelta(days=365), lambda e: e.recorded_at >= BEGIN + timedelta(days=365)),
    "recorded_before": (BEGIN + timedelta(days=364), lambda e: e.recorded_at < BEGIN + timedelta(days=364)),
    "amount_min": (Decimal(3), lambda e: e.amount is not None and e.amount >= 3),
    "amount_max": (Decimal("7.5"), lambda e: e.amount is not None and e.amount <= Decimal("7.5")),
    "external_id": ("5", lambda e: e.external_id == "5"),
    "metadata": (
        (Condition("store.city", Operator.EQ, "Bern"),),
        lambda e: e.metadata.get("store") == {"city": "Bern"},
    ),
    "metadata ": ((Condition("n", Operator.GT, 4),), lambda e: "n" in e.metadata and int(str(e.metadata["n"])) > 4),
}
"""Each part of a query, twice where it is served in two ways, and what it means."""


def item(chance: random.Random, place: int) -> dict[str, object]:
    kind = chance.choice(["purchase", "purchase", "visit", "refund"])
    found: dict[str, object] = {
        "pass_external_id": chance.choice(["ann", "ann", "bob"]),
        "type": kind,
        "source": chance.choice(["till", "web", "app"]),
        # Some in one instant, most within days, a few years before.
        "occurred_at": (BEGIN + timedelta(hours=chance.choice([0, -50_000, *range(0, 8_000, 37)]))).isoformat(),
        "metadata": chance.choice([{}, {"n": place}, {"store": {"city": "Bern"}, "n": 3}]),
    }
    if kind != "visit":
        found |= {"amount": chance.randrange(1, 10), "currency": chance.choice(["EUR", "USD"])}
    if place < 40:
        found["external_id"] = str(place // 3)
        found["source"] = ["till", "web", "app"][place % 3]
    return found


async def everything(business: Business) -> list[Event]:
    """120 events, recorded at two instants, in order of occurrence."""
    chance = random.Random(5)
    items = [item(chance, place) for place in range(120)]
    await business.record(*items[:60])
    business.clock.set(BEGIN + timedelta(days=366))
    await business.record(*items[60:])
    events = (await business.ctx.workspace.events.page(EventQuery(), PageRequest(1_000), oldest_first=True)).items
    assert len(events) == 120
    return events


def key(event: Event) -> tuple[int, str]:
    return event.occurred_ms, event.id


async def paged(business: Business, query: EventQuery, limit: int, *, oldest_first: bool, backward: bool) -> list[str]:
    """The ids of the whole list, gathered page by page."""
    found: list[Event] = []
    span = PageRequest(limit, backward=backward)
    while True:
        page: Page[Event] = await business.ctx.workspace.events.page(query, span, oldest_first, 1_900_000_000_000)
        found = page.items + found if backward else found + page.items
        if not page.has_more:
            return [event.id for event in found]
        edge = key(page.items[0] if backward else page.items[-1])
        span = PageRequest(limit, before=edge, backward=True) if backward else PageRequest(limit, after=edge)


async def walked(business: Business, query: EventQuery, limit: int, *, oldest_first: bool) -> list[str]:
    """The ids of the whole list, walked as a job does that keeps its place in a document."""
    found: list[Event] = []
    place: ScanPosition | None = None
    while True:
        events, place = await business.ctx.workspace.events.walk(
            query, None if place is None else list(place), limit, oldest_first=oldest_first
        )
        found += events
        if place is None:
            return [event.id for event in found]


async def test_any_parts_of_a_filter_together_find_what_they_mean_in_either_order_and_direction(
    business: Business,
) -> None:
    """WH2-03, WH2-26, A1-23: pages and walks against sorting everything, for each part alone and for many together."""
    events = await everything(business)
    names = sorted(PARTS)
    chance = random.Random(7)
    asked = [[name] for name in names] + [chance.sample(names, chance.choice([2, 2, 3, 4])) for _ in range(40)]
    matched = 0
    for number, parts in enumerate(asked):
        query = EventQuery(**{name.strip(): PARTS[name][0] for name in parts})
        meant = [PARTS[name][1] for name in {name.strip(): name for name in parts}.values()]
        expected = [event.id for event in events if all(part(event) for part in meant)]
        oldest_first, backward = number % 2 == 0, number % 3 == 0
        in_order = expected if oldest_first else expected[::-1]
        limit = max(2, len(expected) // 3)
        store = business.ctx.workspace.events
        assert await paged(business, query, limit, oldest_first=oldest_first, backward=backward) == in_order, parts
        assert await store.count(query, 120) == len(expected), parts
        if number % 4 == 0:
            assert await walked(business, query, limit, oldest_first=oldest_first) == in_order, parts
        matched += len(expected)
    assert matched > 700


async def test_a_page_behind_a_filter_that_hardly_anything_passes_is_refused_with_advice_that_works(
    business: Business,
) -> None:
    events = await everything(business)
    store = business.ctx.workspace.events
    store.most = 30
    rare = EventQuery(metadata=(Condition("n", Operator.EQ, 7),))
    whole = [event for event in events if event.metadata.get("n") == 7]
    for oldest_first in (False, True):
        with pytest.raises(InvalidInput) as refusal:
            await store.page(rare, PageRequest(5), oldest_first, 1_900_000_000_000)
        [problem] = refusal.value.problems
        assert (problem.code, problem.field) == (Code.TOO_MANY, ("filter",))
        assert "name a pass or one type" in problem.message
        [instant] = re.findall(r'"(.*?)"', problem.message)
        edge = datetime.fromisoformat(instant)
        narrowed = replace(rare, occurred_before=edge) if oldest_first else replace(rare, occurred_after=edge)
        found = (await store.page(narrowed, PageRequest(5), oldest_first, 1_900_000_000_000)).items
        assert found == [event for event in whole if (event.occurred_at < edge) is oldest_first]
    # Without a filter that the index does not hold, nothing is too far; and a walk goes on where a page gives up.
    assert len((await store.page(EventQuery(), PageRequest(200))).items) == len(events)
    assert await walked(business, rare, 5, oldest_first=True) == [e.id for e in whole]
    # A range that holds no more than may be looked at is always answered.
    near = EventQuery(occurred_before=events[29].occurred_at, metadata=rare.metadata)
    assert len((await store.page(near, PageRequest(5), newest_ms=1_900_000_000_000)).items) <= 1
    with pytest.raises(InvalidInput, match="Leave out totalCount"):
        await store.count(rare, 100)
    assert await store.count(EventQuery(types=("refund",)), 100) == sum(event.type == "refund" for event in events)


async def test_pages_stay_valid_while_the_list_grows(business: Business) -> None:
    """Nothing that was there is skipped or repeated, wherever others are inserted between two pages."""
    events = await everything(business)
    chance = random.Random(11)
    query = EventQuery(types=("purchase", "refund"), amount_min=Decimal(2))
    there = [e.id for e in events if e.type != "visit" and e.amount is not None and e.amount >= 2]
    store, found, span = business.ctx.workspace.events, [], PageRequest(7)
    while True:
        page = await store.page(query, span, newest_ms=1_900_000_000_000)
        found += [event.id for event in page.items]
        if not page.has_more:
            break
        span = PageRequest(7, after=key(page.items[-1]))
        between = chance.choice(page.items).occurred_at
        new = [{"amount": 5, "occurred_at": (between + timedelta(milliseconds=d)).isoformat()} for d in (-1, 0, 1)]
        await business.record(*new)
    assert len(there) > 60
    assert [event_id for event_id in found if event_id in set(there)] == there[::-1]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("types", [(), ("purchase",)])
async def test_what_a_page_reads_is_bound_by_its_size_not_by_the_history(
    business: Business, monkeypatch: pytest.MonkeyPatch, types: tuple[str, ...]
) -> None:
    """The embedded servers read all that a range holds, so the ranges have to be narrow."""
    hours = [place * 3 for place in range(400)]
    at = [(BEGIN + timedelta(hours=hour)).isoformat() for hour in hours]
    await business.record(*({"occurred_at": instant} for instant in at))
    held: list[int] = []

    async def noted(collection: Any, query: Any, *args: Any, **options: Any) -> Any:
        bounds = query["occurred_at"]
        held.append(sum(bounds["$gte"] <= BEGIN + timedelta(hours=hour) < bounds["$lt"] for hour in hours))
        return await page_of(collection, query, *args, **options)

    monkeypatch.setattr(strides, "page_of", noted)
    store, query = business.ctx.workspace.events, EventQuery(types=types)
    newest = await store.page(query, PageRequest(10), newest_ms=to_ms(BEGIN + timedelta(hours=1_200)))
    middle = await store.page(query, PageRequest(10, after=key(newest.items[-1])))
    assert len(newest.items + middle.items) == 20
    assert sum(held) < 8 * 22
    held.clear()
    found = await walked(business, query, 25, oldest_first=True)
    assert len(found) == 400
    assert sum(held) < 3 * 400


async def test_what_removes_events_and_what_is_left_of_them_is_never_an_event(business: Business) -> None:
    """WH2-09: neither listed, counted, walked over nor found by id, from the moment a removal is asked for."""
    await business.record({"external_id": "1"}, {"external_id": "2"})
    store = business.ctx.workspace.events
    both = (await store.page(EventQuery(), PageRequest(9), oldest_first=True)).items
    [gone, stays] = sorted(both, key=lambda event: str(event.external_id))
    tombstone = Tombstone(gone.pass_id, gone.id, await business.ctx.now())
    await business.ctx.workspace.removals.insert([tombstone], business.ctx.origin)
    for settled in (False, True):
        if settled:
            await business.settle()
        left = [stays] if settled else both
        for query in (EventQuery(), EventQuery(pass_id=gone.pass_id), EventQuery(external_id="1", sources=("api",))):
            named = [event for event in left if query.external_id in (None, event.external_id)]
            assert (await store.page(query, PageRequest(9), oldest_first=True)).items == named
            assert (await store.walk(query))[0] == named
        assert await store.get_many([tombstone.id, gone.id, stays.id]) == {event.id: event for event in left}
        assert await store.unfolded(gone.pass_id) == ([] if settled else left)
        assert set(await store.stored([tombstone.id, gone.id])) == {gone.id}
    assert await store.count(EventQuery(), 9) == await store.count(EventQuery()) == 1


async def test_a_page_beside_many_removals_is_still_a_few_reads(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await business.record(*({"external_id": str(number)} for number in range(130)))
    store = business.ctx.workspace.events
    events = (await store.page(EventQuery(), PageRequest(200))).items
    now = await business.ctx.now()
    tombstones = [Tombstone(event.pass_id, event.id, now + timedelta(seconds=1)) for event in events[:120]]
    await business.ctx.workspace.removals.insert(tombstones, business.ctx.origin)
    reads: list[Any] = []

    async def noted(*args: Any, **options: Any) -> Any:
        reads.append(args)
        return await page_of(*args, **options)

    monkeypatch.setattr(strides, "page_of", noted)
    page = await store.page(EventQuery(), PageRequest(10), newest_ms=to_ms(now))
    assert (page.items, page.has_more) == (events[:10], True)
    assert len(reads) <= 3
