"""Freshness of statistics of passes and of members of segments (WH2-09, WH2-29)."""

from __future__ import annotations

from typing import Any

from app.commands.passes.removals import delete_events
from app.domain.events.event_queries import EventQuery
from app.graphql.types.ids import to_global_id
from app.store.stages.fold import PARKED_AFTER
from tests.business import purchases
from tests.graphql.serving import Api
from tests.workers.jobs.test_imports import run_to_end

STATISTICS = """query Statistics($after: DateTime) { pass(externalId: "ann") {
  all: statistics { eventCount freshness { exact pendingEvents computedThrough asOf } }
  window: statistics(from: $after) { eventCount freshness { exact pendingEvents } } } }"""
MEMBERS = """query Members($id: ID!) { segment(id: $id) {
  members { freshness { exact pendingEvents computedThrough asOf } nodes { pass { externalId } } } } }"""
AFTER = "2025-01-01T00:00:00Z"


async def statistics_of(api: Api) -> tuple[Any, Any]:
    card = (await api.fetch_data(STATISTICS, after=AFTER))["pass"]
    return card["all"], card["window"]


async def test_statistics_say_what_they_lack_until_it_is_counted(api: Api) -> None:
    business = api.business
    await business.record({"external_id": "one", "amount": 5})
    kept, window = await statistics_of(api)
    assert (kept["eventCount"], kept["freshness"]["exact"], kept["freshness"]["pendingEvents"]) == (0, False, 1)
    assert kept["freshness"]["computedThrough"] < kept["freshness"]["asOf"]
    assert window == {"eventCount": 1, "freshness": {"exact": True, "pendingEvents": 0}}
    await business.run_worker()
    kept, _ = await statistics_of(api)
    assert kept["eventCount"] == 1
    assert kept["freshness"]["computedThrough"] == kept["freshness"]["asOf"]
    assert kept["freshness"]["exact"]


async def test_answers_are_not_exact_from_a_deletion_until_its_events_are_gone(api: Api) -> None:
    business = api.business
    await business.record({"external_id": "one", "amount": 5}, {"external_id": "two", "amount": 7})
    segment = await business.create_segment("buyers", purchases(2))
    members = {"id": to_global_id("Segment", segment.id)}
    job, _ = await delete_events(business.ctx, EventQuery(types=("purchase",)))
    assert job is not None

    async def are_exact() -> list[bool]:
        found = (await api.fetch_data(MEMBERS, **members))["segment"]["members"]
        answers = [*await statistics_of(api), found]
        return [answer["freshness"]["exact"] for answer in answers]

    assert await are_exact() == [False] * 3
    await run_to_end(business, job)
    assert await are_exact() == [False] * 3
    await business.run_worker()
    assert await are_exact() == [True] * 3
    kept, window = await statistics_of(api)
    assert kept["eventCount"] == window["eventCount"] == 0
    assert (await api.fetch_data(MEMBERS, **members))["segment"]["members"]["nodes"] == []


async def test_members_are_not_exact_while_events_wait_also_on_parked_passes(api: Api) -> None:
    business = api.business
    segment = await business.create_segment("buyers", purchases(1))
    members = {"id": to_global_id("Segment", segment.id)}
    await business.record({"external_id": "one"}, {"external_id": "two", "pass_external_id": "bob"})
    found = (await api.fetch_data(MEMBERS, **members))["segment"]["members"]
    assert (found["nodes"], found["freshness"]["exact"], found["freshness"]["pendingEvents"]) == ([], False, 2)
    card = await business.read_pass()
    for _ in range(PARKED_AFTER):
        await business.worker.fold_queries.count_failure(card, "Boom", 5)
    await business.run_worker()
    found = (await api.fetch_data(MEMBERS, **members))["segment"]["members"]
    assert [node["pass"]["externalId"] for node in found["nodes"]] == ["bob"]
    assert (found["freshness"]["exact"], found["freshness"]["pendingEvents"]) == (False, 1)
    kept, _ = await statistics_of(api)
    assert (kept["freshness"]["exact"], kept["freshness"]["pendingEvents"]) == (False, 1)
