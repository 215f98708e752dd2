"""Lists of events: for any filter, each page equals the same part of the sorted whole."""

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
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import Category, Event
from app.domain.events.tombstones import Tombstone
from app.domain.values.conditions import Condition, Operator
from app.domain.values.instants import to_ms
from app.store.mongo import time_ranges
from app.store.mongo.paging import Page, PageRequest, read_page
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
"""The parts of a query and what each selects. A part that the store serves in two ways is listed twice."""


def random_item(chance: random.Random, index: int) -> dict[str, object]:
    kind = chance.choice(["purchase", "purchase", "visit", "refund"])
    found: dict[str, object] = {
        "pass_external_id": chance.choice(["ann", "ann", "bob"]),
        "type": kind,
        "source": chance.choice(["till", "web", "app"]),
        # Some events share one instant, most lie within days, and a few occurred years earlier.
        "occurred_at": (BEGIN + timedelta(hours=chance.choice([0, -50_000, *range(0, 8_000, 37)]))).isoformat(),
        "metadata": chance.choice([{}, {"n": index}, {"store": {"city": "Bern"}, "n": 3}]),
    }
    if kind != "visit":
        found |= {"amount": chance.randrange(1, 10), "currency": chance.choice(["EUR", "USD"])}
    if index < 40:
        found["external_id"] = str(index // 3)
        found["source"] = ["till", "web", "app"][index % 3]
    return found


async def record_all(business: Business) -> list[Event]:
    """Record 120 events at two instants, and return them in order of occurrence."""
    chance = random.Random(5)
    items = [random_item(chance, index) for index in range(120)]
    await business.record(*items[:60])
    business.clock.set(BEGIN + timedelta(days=366))
    await business.record(*items[60:])
    events = (await business.ctx.workspace.events.page(EventQuery(), PageRequest(1_000), oldest_first=True)).items
    assert len(events) == 120
    return events


def key(event: Event) -> tuple[int, str]:
    return event.occurred_ms, event.id


async def read_pages(
    business: Business, query: EventQuery, limit: int, *, oldest_first: bool, backward: bool
) -> list[str]:
    """Read the whole list page by page, and return the event ids."""
    found: list[Event] = []
    span = PageRequest(limit, backward=backward)
    while True:
        page: Page[Event] = await business.ctx.workspace.events.page(query, span, oldest_first, 1_900_000_000_000)
        found = page.items + found if backward else found + page.items
        if not page.has_more:
            return [event.id for event in found]
        edge = key(page.items[0] if backward else page.items[-1])
        span = PageRequest(limit, before=edge, backward=True) if backward else PageRequest(limit, after=edge)


async def scan_all(business: Business, query: EventQuery, limit: int, *, oldest_first: bool) -> list[str]:
    """Scan the whole list as a job does that stores its position, and return the event ids."""
    found: list[Event] = []
    position: ScanPosition | None = None
    while True:
        events, position = await business.ctx.workspace.events.scan(
            query, None if position is None else list(position), limit, oldest_first=oldest_first
        )
        found += events
        if position is None:
            return [event.id for event in found]


async def test_any_combination_of_filters_equals_filtering_everything(
    business: Business,
) -> None:
    """WH2-03, WH2-26, A1-23: pages and scans in both orders and directions, for single filters and combinations."""
    events = await record_all(business)
    names = sorted(PARTS)
    chance = random.Random(7)
    combinations = [[name] for name in names] + [chance.sample(names, chance.choice([2, 2, 3, 4])) for _ in range(40)]
    matched = 0
    for number, parts in enumerate(combinations):
        query = EventQuery(**{name.strip(): PARTS[name][0] for name in parts})
        predicates = [PARTS[name][1] for name in {name.strip(): name for name in parts}.values()]
        expected = [event.id for event in events if all(predicate(event) for predicate in predicates)]
        oldest_first, backward = number % 2 == 0, number % 3 == 0
        in_order = expected if oldest_first else expected[::-1]
        limit = max(2, len(expected) // 3)
        store = business.ctx.workspace.events
        assert await read_pages(business, query, limit, oldest_first=oldest_first, backward=backward) == in_order, parts
        assert await store.count(query, 120) == len(expected), parts
        if number % 4 == 0:
            assert await scan_all(business, query, limit, oldest_first=oldest_first) == in_order, parts
        matched += len(expected)
    assert matched > 700


async def test_page_behind_a_filter_with_few_matches_is_rejected_with_working_advice(
    business: Business,
) -> None:
    events = await record_all(business)
    store = business.ctx.workspace.events
    store.max_examined = 30
    rare = EventQuery(metadata=(Condition("n", Operator.EQ, 7),))
    whole = [event for event in events if event.metadata.get("n") == 7]
    for oldest_first in (False, True):
        with pytest.raises(InvalidInput) as refused:
            await store.page(rare, PageRequest(5), oldest_first, 1_900_000_000_000)
        [problem] = refused.value.problems
        assert (problem.code, problem.field) == (Code.TOO_MANY, ("filter",))
        assert "name a pass or one type" in problem.message
        [instant] = re.findall(r'"(.*?)"', problem.message)
        edge = datetime.fromisoformat(instant)
        narrowed = replace(rare, occurred_before=edge) if oldest_first else replace(rare, occurred_after=edge)
        found = (await store.page(narrowed, PageRequest(5), oldest_first, 1_900_000_000_000)).items
        assert found == [event for event in whole if (event.occurred_at < edge) is oldest_first]
    # Without such a filter every page can be read, and a scan reads on where a page is rejected.
    assert len((await store.page(EventQuery(), PageRequest(200))).items) == len(events)
    assert await scan_all(business, rare, 5, oldest_first=True) == [e.id for e in whole]
    # A range with no more events than the limit is always read.
    near = EventQuery(occurred_before=events[29].occurred_at, metadata=rare.metadata)
    assert len((await store.page(near, PageRequest(5), newest_ms=1_900_000_000_000)).items) <= 1
    with pytest.raises(InvalidInput, match="Leave out totalCount"):
        await store.count(rare, 100)
    assert await store.count(EventQuery(types=("refund",)), 100) == sum(event.type == "refund" for event in events)


async def test_pages_stay_valid_while_events_are_added(business: Business) -> None:
    """No event that was stored at the start is skipped or repeated, wherever new ones are inserted between pages."""
    events = await record_all(business)
    chance = random.Random(11)
    query = EventQuery(types=("purchase", "refund"), amount_min=Decimal(2))
    at_start = [e.id for e in events if e.type != "visit" and e.amount is not None and e.amount >= 2]
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
    assert len(at_start) > 60
    assert [event_id for event_id in found if event_id in set(at_start)] == at_start[::-1]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("types", [(), ("purchase",)])
async def test_reads_of_a_page_are_bounded_by_its_size_not_by_the_history(
    business: Business, monkeypatch: pytest.MonkeyPatch, types: tuple[str, ...]
) -> None:
    """The embedded servers read all events of a range, so the ranges must be narrow."""
    hours = [index * 3 for index in range(400)]
    at = [(BEGIN + timedelta(hours=hour)).isoformat() for hour in hours]
    await business.record(*({"occurred_at": instant} for instant in at))
    read_counts: list[int] = []

    async def count_then_read(collection: Any, query: Any, *args: Any, **options: Any) -> Any:
        bounds = query["occurred_at"]
        read_counts.append(sum(bounds["$gte"] <= BEGIN + timedelta(hours=hour) < bounds["$lt"] for hour in hours))
        return await read_page(collection, query, *args, **options)

    monkeypatch.setattr(time_ranges, "read_page", count_then_read)
    store, query = business.ctx.workspace.events, EventQuery(types=types)
    newest = await store.page(query, PageRequest(10), newest_ms=to_ms(BEGIN + timedelta(hours=1_200)))
    middle = await store.page(query, PageRequest(10, after=key(newest.items[-1])))
    assert len(newest.items + middle.items) == 20
    assert sum(read_counts) < 8 * 22
    read_counts.clear()
    found = await scan_all(business, query, 25, oldest_first=True)
    assert len(found) == 400
    assert sum(read_counts) < 3 * 400


async def test_tombstones_and_stubs_are_never_returned_as_events(business: Business) -> None:
    """WH2-09: from the request for a removal on, they are neither listed, counted, scanned nor found by id."""
    await business.record({"external_id": "1"}, {"external_id": "2"})
    store = business.ctx.workspace.events
    both = (await store.page(EventQuery(), PageRequest(9), oldest_first=True)).items
    [removed, other] = sorted(both, key=lambda event: str(event.external_id))
    tombstone = Tombstone(removed.pass_id, removed.id, await business.ctx.now())
    await business.ctx.workspace.removals.insert([tombstone], business.ctx.origin)
    for is_folded in (False, True):
        if is_folded:
            await business.run_worker()
        left = [other] if is_folded else both
        for query in (EventQuery(), EventQuery(pass_id=removed.pass_id), EventQuery(external_id="1", sources=("api",))):
            matching = [event for event in left if query.external_id in (None, event.external_id)]
            assert (await store.page(query, PageRequest(9), oldest_first=True)).items == matching
            assert (await store.scan(query))[0] == matching
        assert await store.get_many([tombstone.id, removed.id, other.id]) == {event.id: event for event in left}
        assert await store.unfolded(removed.pass_id) == ([] if is_folded else left)
        assert set(await store.stored([tombstone.id, removed.id])) == {removed.id}
    assert await store.count(EventQuery(), 9) == await store.count(EventQuery()) == 1


async def test_page_beside_many_removals_needs_few_reads(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    await business.record(*({"external_id": str(number)} for number in range(130)))
    store = business.ctx.workspace.events
    events = (await store.page(EventQuery(), PageRequest(200))).items
    now = await business.ctx.now()
    tombstones = [Tombstone(event.pass_id, event.id, now + timedelta(seconds=1)) for event in events[:120]]
    await business.ctx.workspace.removals.insert(tombstones, business.ctx.origin)
    reads: list[Any] = []

    async def note_then_read(*args: Any, **options: Any) -> Any:
        reads.append(args)
        return await read_page(*args, **options)

    monkeypatch.setattr(time_ranges, "read_page", note_then_read)
    page = await store.page(EventQuery(), PageRequest(10), newest_ms=to_ms(now))
    assert (page.items, page.has_more) == (events[:10], True)
    assert len(reads) <= 3
