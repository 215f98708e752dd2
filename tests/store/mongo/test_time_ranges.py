"""Scans of lists inside one instant: files with dates only give all events of a day the same instant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.commands.jobs.exports import export_events
from app.commands.passes.removals import delete_events
from app.domain.errors import Code, InvalidInput
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import Event
from app.domain.files.exports import ExportFormat
from app.domain.jobs import JobStatus
from app.domain.state.measures import EventFilter, Measure
from app.domain.state.numbers import plain_number
from app.domain.values.conditions import Condition, Operator
from app.domain.values.instants import to_ms
from app.store.mongo.paging import PageRequest
from app.store.mongo.time_ranges import ScanPosition
from app.store.stages import histories
from app.store.workspace.events import EventQueries
from tests.business import Business
from tests.workers.jobs.test_imports import run_to_end

MIDNIGHT = datetime(2025, 12, 3, tzinfo=UTC)
NOW_MS = to_ms(datetime(2026, 1, 1, tzinfo=UTC))
QUERIES = {
    "all": EventQuery(),
    "one type": EventQuery(types=("visit",)),
    "one pass": EventQuery(pass_id="filled in by the test"),
    "some sources": EventQuery(sources=("till", "web")),
    "few matches": EventQuery(metadata=(Condition("n", Operator.EQ, 7),)),
    "no match": EventQuery(currency="CHF"),
    "after midnight": EventQuery(occurred_after=MIDNIGHT + timedelta(milliseconds=1), sources=("till",)),
    "at midnight": EventQuery(
        occurred_after=MIDNIGHT, occurred_before=MIDNIGHT + timedelta(milliseconds=1), sources=("till",)
    ),
}


def matches(query: EventQuery, event: Event) -> bool:
    return (
        query.pass_id in (None, event.pass_id)
        and (not query.types or event.type in query.types)
        and (not query.sources or event.source in query.sources)
        and (query.currency in (None, event.currency))
        and (not query.metadata or event.metadata.get("n") == 7)
        and (query.occurred_after is None or event.occurred_at >= query.occurred_after)
        and (query.occurred_before is None or event.occurred_at < query.occurred_before)
    )


async def record_crowd(business: Business) -> list[Event]:
    """Record 130 events at one midnight and 20 around it, and return them in the order of a list, oldest first."""
    items: list[dict[str, object]] = []
    for number in range(150):
        days = 0 if number < 130 else number - 140
        items.append(
            {
                "type": "visit" if number % 2 else "purchase",
                "pass_external_id": ("ann", "bob")[number % 3 == 0],
                "source": ("till", "web", "app")[number % 3],
                "occurred_at": (MIDNIGHT + timedelta(days=days)).isoformat(),
                "metadata": {"n": number % 40},
                # Ids that follow from an external id spread evenly; the others lie close together.
                **({"external_id": str(number)} if number % 2 else {}),
            }
        )
    await business.record(*items)
    events = (await business.ctx.workspace.events.page(EventQuery(), PageRequest(1_000), oldest_first=True)).items
    assert len(events) == 150
    return events


async def queries_of(business: Business) -> dict[str, EventQuery]:
    ann = (await business.ctx.workspace.passes.ids_of(["ann"]))["ann"]
    return {**QUERIES, "one pass": EventQuery(pass_id=ann, sources=("till", "web"))}


async def scan_all(store: EventQueries, query: EventQuery, limit: int, *, oldest_first: bool) -> list[str]:
    """Scan the whole list as a job does, and return the event ids."""
    found: list[str] = []
    position: Sequence[Any] | None = None
    for _ in range(1_000):
        events, position = await store.scan(query, position and list(position), limit, oldest_first=oldest_first)
        found += [event.id for event in events]
        if position is None:
            return found
    raise AssertionError("the scan does not end")


@pytest.mark.parametrize("max_examined", [8, 60])
async def test_scan_returns_each_event_of_a_crowded_instant_once(business: Business, max_examined: int) -> None:
    events = await record_crowd(business)
    store = business.ctx.workspace.events
    store.max_examined = max_examined
    for name, query in (await queries_of(business)).items():
        expected = [event.id for event in events if matches(query, event)]
        for limit, oldest_first in ((17, True), (200, False)):
            in_order = expected if oldest_first else expected[::-1]
            assert await scan_all(store, query, limit, oldest_first=oldest_first) == in_order, name


async def test_scan_goes_on_from_any_event_of_a_crowded_instant(business: Business) -> None:
    events = await record_crowd(business)
    store = business.ctx.workspace.events
    store.max_examined = 20
    query = EventQuery(sources=("till", "web"))
    for number in range(0, 150, 17):
        start = ScanPosition(events[number].occurred_ms, events[number].id, 1)
        found, position = await store.scan(query, list(start), 5)
        while len(found) < 5 and position is not None:
            more, position = await store.scan(query, list(position), 5 - len(found))
            found += more
        expected = [event for event in events[number + 1 :] if matches(query, event)]
        assert found == expected[:5], number


@pytest.mark.parametrize("oldest_first", [False, True])
async def test_pages_of_a_crowded_instant_equal_the_whole_list(business: Business, oldest_first: bool) -> None:
    events = await record_crowd(business)
    store = business.ctx.workspace.events
    store.max_examined = 60
    for query in (EventQuery(), EventQuery(sources=("till", "web"))):
        for backward in (False, True):
            expected = [event for event in events if matches(query, event)]
            expected = expected if oldest_first else expected[::-1]
            found: list[Event] = []
            span = PageRequest(9, backward=backward)
            while True:
                page = await store.page(query, span, oldest_first, NOW_MS)
                found = page.items + found if backward else found + page.items
                if not page.has_more:
                    break
                edge = page.items[0] if backward else page.items[-1]
                key = edge.occurred_ms, edge.id
                span = PageRequest(9, before=key, backward=True) if backward else PageRequest(9, after=key)
            assert found == expected


async def test_page_that_finds_too_few_in_a_crowded_instant_is_refused_with_working_advice(business: Business) -> None:
    events = await record_crowd(business)
    store = business.ctx.workspace.events
    for max_examined in (1, 20, 60, 149):
        store.max_examined = max_examined
        for oldest_first in (False, True):
            with pytest.raises(InvalidInput) as refused:
                await store.page(EventQuery(currency="CHF"), PageRequest(1), oldest_first, NOW_MS)
            [problem] = refused.value.problems
            assert (problem.code, problem.field) == (Code.TOO_MANY, ("filter",))
            instants = re.findall(r"\d{4}-\S+Z", problem.message)
            assert "exportEvents" in problem.message or len(instants) == 1
    store.max_examined = 20
    job = await export_events(business.ctx, QUERIES["few matches"], ExportFormat.JSONL)
    job = await run_to_end(business, job)
    assert job.tally.done == sum(event.metadata["n"] == 7 for event in events)


async def test_jobs_over_a_crowded_instant_end(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    events = await record_crowd(business)
    monkeypatch.setattr(EventQueries, "max_examined", 20)
    for query in (QUERIES["no match"], QUERIES["some sources"], QUERIES["at midnight"]):
        expected = sum(matches(query, event) for event in events)
        exported = await run_to_end(business, await export_events(business.ctx, query, ExportFormat.JSONL))
        assert (exported.status, exported.tally.done) == (JobStatus.SUCCEEDED, expected)
    job, _ = await delete_events(business.ctx, QUERIES["some sources"])
    assert job is not None
    removed = await run_to_end(business, job)
    expected = sum(matches(QUERIES["some sources"], event) for event in events)
    assert (removed.status, removed.tally.created) == (JobStatus.SUCCEEDED, expected)


async def test_scan_of_an_instant_reads_its_events_a_bounded_number_of_times(business: Business) -> None:
    """The embedded servers read whole ranges, so the ranges inside an instant must be narrow, too."""
    events = await record_crowd(business)
    # Only hashes spread evenly, so that ranges of ids have about equal numbers of events.
    ids = sorted(event.id for event in events if event.external_id is not None and event.occurred_at == MIDNIGHT)
    store = business.ctx.workspace.events
    read_counts: list[int] = []
    collection = store._collection

    class Observed:
        def __getattr__(self, name: str) -> Any:
            return getattr(collection, name)

        def aggregate(self, stages: list[dict[str, Any]], **options: Any) -> Any:
            bounds = stages[0]["$match"].get("_id")
            if bounds is not None and "$count" not in stages[-1]:
                read_counts.append(sum(bounds["$gt"] < id_ < bounds["$lt"] for id_ in ids))
            return collection.aggregate(stages, **options)

    store._collection = Observed()  # type: ignore[assignment]
    assert await scan_all(store, EventQuery(), 10, oldest_first=True) == [event.id for event in events]
    assert len(read_counts) > 5
    assert sum(read_counts) < 4 * len(ids)


async def test_window_list_goes_on_inside_a_crowded_instant(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record_crowd(business)
    await business.run_worker()
    card = await business.read_pass("ann")
    measure = Measure(EventFilter(), within_ms=1_000)
    expected, _ = await business.worker.fold_queries.expiring_events(card, measure, 0)
    assert max(plain_number(weight) for _, weight in expected) > 80
    for size in (1, 2, 7, 33):
        monkeypatch.setattr(histories, "HISTORY_BATCH_SIZE", size)
        for start_ms in (0, to_ms(MIDNIGHT) - 1, to_ms(MIDNIGHT)):
            found, has_more = await business.worker.fold_queries.expiring_events(card, measure, start_ms)
            assert (found, has_more) == ([pair for pair in expected if pair[0] > start_ms], False)
