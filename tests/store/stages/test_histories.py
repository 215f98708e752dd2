"""Histories: the events of a pass with many of them are read in pages, and none is left out or read twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.store.mongo.read_order import reading_in_order, reads_in_order
from app.store.stages import histories
from tests.backlogs import ExaminedCollection
from tests.business import Business

PAGE_SIZE = 10
FIRST = datetime(2025, 6, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "HISTORY_PAGE_SIZE", PAGE_SIZE)


async def record_events(business: Business, pass_external_id: str, instants: list[datetime]) -> None:
    await business.record(
        *(
            {"pass_external_id": pass_external_id, "external_id": f"{pass_external_id}-{number}", "occurred_at": at}
            for number, at in enumerate(instants)
        )
    )


def spread(count: int, *, hours: float) -> list[datetime]:
    return [FIRST + timedelta(hours=hours * number) for number in range(count)]


async def count_events(business: Business, pass_external_id: str) -> tuple[list[str], list[int]]:
    """Return the ids of the events of a pass as its history has them, and how many events each read examined."""
    queries, card = business.worker.fold_queries, await business.read_pass(pass_external_id)
    raw, counted = queries._events, ExaminedCollection(queries._events)
    queries._events, examined = counted, counted.examined  # type: ignore[assignment]
    [found] = (await queries.histories([card])).values()
    queries._events = raw
    assert len(found) == card.event_count
    assert found == sorted(found, key=lambda event: (event.occurred_ms, event.id))
    return [event.id for event in found], examined


@pytest.mark.parametrize(
    "instants",
    [
        spread(95, hours=5),
        # Most events at one instant, and a pause of two years before the last ones.
        [*spread(5, hours=100), *[FIRST + timedelta(days=30)] * 70, *spread(5, hours=17_520)],
    ],
    ids=["evenly", "unevenly"],
)
async def test_history_of_a_pass_with_many_events_is_read_in_pages(
    business: Business, instants: list[datetime]
) -> None:
    business.clock.set(max(instants) + timedelta(days=1))
    await record_events(business, "ann", instants)
    await record_events(business, "bob", spread(3, hours=5))
    await business.run_worker()
    ids, examined = await count_events(business, "ann")
    assert len(set(ids)) == len(instants)
    assert len(examined) >= len(instants) / PAGE_SIZE
    if len(set(instants)) == len(instants):
        assert max(examined) <= 3 * PAGE_SIZE, "each read examines about one page"
        assert len(examined) <= 3 * len(instants) / PAGE_SIZE
    _, examined = await count_events(business, "bob")
    assert examined == [3], "one read for few events"


async def test_histories_of_passes_with_few_events_share_reads(business: Business) -> None:
    names = [f"p{number}" for number in range(8)]
    for name in names:
        await record_events(business, name, spread(4, hours=1))
    await business.run_worker()
    queries = business.worker.fold_queries
    cards = [await business.read_pass(name) for name in names]
    raw, counted = queries._events, ExaminedCollection(queries._events)
    queries._events = counted  # type: ignore[assignment]
    found = await queries.histories(cards)
    assert counted.examined == [8, 8, 8, 8]
    queries._events = raw
    assert {pass_id: len(events) for pass_id, events in found.items()} == dict.fromkeys([card.id for card in cards], 4)


async def test_history_is_read_in_pages_if_many_events_are_not_counted_yet(business: Business) -> None:
    """The pass says how many events count, and not how many are pending."""
    await record_events(business, "ann", spread(2, hours=1))
    await business.run_worker()
    await record_events(business, "ann", spread(60, hours=7))
    ids, examined = await count_events(business, "ann")
    assert len(ids) == 2
    assert len(examined) > 60 / PAGE_SIZE


async def test_pages_of_a_history_belong_to_the_order_of_the_round(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = set()
    begin = reads_in_order

    def observe(*args: object) -> object:
        collection = begin(*args)  # type: ignore[arg-type]
        sessions.add(type(collection).__name__)
        return collection

    monkeypatch.setattr(histories, "reads_in_order", observe)
    await record_events(business, "ann", spread(45, hours=5))
    await business.run_worker()
    with reading_in_order():
        [found] = (await business.worker.fold_queries.histories([await business.read_pass()])).values()
    assert len(found) == 45
    assert sessions == {"_OrderedCollection"}
