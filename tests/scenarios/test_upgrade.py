"""Upgrade from version 0.1.0: this version reads its data and completes its unfinished work.

`tests/data/stored-by-0.1.0.json.gz` holds every document of a workspace of version 0.1.0, as MongoDB Extended JSON. At
that moment a fold had crashed between its write and the clearing of its events. Other events were pending, outboxes had
entries, and an import had not begun. One pass was merged, one was erased.
"""

from __future__ import annotations

import gzip
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from bson import json_util

from app.clock import FixedClock
from app.commands.context import Context
from app.commands.events.receipts import record_call
from app.domain.actors import SCOPES, Actor
from app.domain.events.events import EventInput
from app.domain.events.receipts import RecordStatus
from app.domain.inbound.deliveries import DeliveryStatus
from app.domain.jobs import JobStatus
from app.domain.passes.pass_queries import PassOrder, PassQuery
from app.domain.passes.search_tokens import parse_search
from app.domain.rollups.levels import Level
from app.domain.values.instants import EARLIEST, to_ms
from app.resources import Resources
from app.store.mongo.paging import PageRequest
from app.store.operations.findable_passes import FINDABLE
from app.store.operations.indexes import ensure_indexes
from app.store.operations.pass_names import forget_names
from app.store.operations.rollup_marking import RollupMarking
from app.store.operations.upgrades import Upgrades
from tests.business import Business
from tests.crashes import Crash
from tests.workers.stages.test_rules import PER_DOLLAR, define
from workers.main import STAGES
from workers.sweep import Sweep
from workers.worker import Worker

STORED = Path(__file__).parents[1] / "data" / "stored-by-0.1.0.json.gz"


@pytest.fixture
async def upgraded(resources: Resources, clock: FixedClock) -> Business:
    """Load the stored documents into the database of the test, set the clock to their instant, and return the business."""
    stored: dict[str, Any] = json_util.loads(gzip.decompress(STORED.read_bytes()).decode())
    about = stored.pop("_about")
    clock.set(about["clock"])
    for name in ("pass_names", *stored):
        await resources.db[name].delete_many({})
    for name, docs in stored.items():
        if docs:
            await resources.db[name].insert_many(docs)
    await forget_names(resources.db)
    await resources.db["constants"].delete_one({"_id": FINDABLE})
    await ensure_indexes(resources.db)
    actor = Actor(about["workspace"], "key_test", "test", scopes=frozenset(SCOPES))
    context = Context(resources.workspace(about["workspace"]), actor, resources)
    return Business(context, Worker.on(resources), clock)


async def test_pending_events_are_counted_once_and_published(upgraded: Business) -> None:
    await upgraded.run_worker()
    ann = (await upgraded.read_pass("ann")).aggregates["purchase", "USD"]
    assert (ann.count, ann.sum) == (8, 6 * Decimal("19.90") + Decimal("1.25") + Decimal("100.00"))
    bob = await upgraded.read_pass("bob")
    assert (bob.aggregates["purchase", "USD"].count, bob.points) == (6, Decimal(60))
    assert (await upgraded.read_pass("dora")).aggregates["purchase", "USD"].sum == 7, "the events of the merged pass"
    assert (await upgraded.read_pass("hal")).aggregates["tasting", None].count == 1
    log = await upgraded.read_log(include_silent=True)
    assert [activity.position for activity in log] == list(range(1, len(log) + 1))
    pending = await upgraded.ctx.resources.db["events"].count_documents({"pend": {"$gte": 0}})
    assert pending == 0


async def test_passes_are_found_by_search_and_last_event(upgraded: Business) -> None:
    query = PassQuery(search=parse_search("an"), last_event_after=EARLIEST)
    page = await upgraded.ctx.workspace.finding.page(query, PageRequest(9), PassOrder(), 2**41)
    assert [card.external_id for card in page.items] == ["ann"]


async def test_repeat_of_a_call_to_version_0_1_0_is_a_duplicate(upgraded: Business) -> None:
    repeated = await upgraded.record(
        {"amount": "19.90", "external_id": "ann-0", "metadata": {"store": "north", "n": 0}}
    )
    assert [result.status for result in repeated.results] == [RecordStatus.DUPLICATE]
    many = [EventInput("visit", pass_external_id="ann", external_id=f"many-{n}") for n in range(80)]
    answer = await record_call(upgraded.ctx, many, idempotency_key="large")
    assert answer.outcome.duplicate == 80


async def test_passes_leave_and_enter_segments_when_time_passes(upgraded: Business) -> None:
    await upgraded.run_worker()
    segments = {each.key: each for each in (await upgraded.ctx.workspace.segments.page(PageRequest(10))).items}
    assert "ann" in await upgraded.read_members(segments["recent"])
    upgraded.clock.set(await upgraded.clock.now() + timedelta(days=90))
    await upgraded.run_worker()
    assert "ann" not in await upgraded.read_members(segments["recent"])
    assert "ann" in await upgraded.read_members(segments["away"])
    assert (await upgraded.read_pass("bob")).points == 0, "the points ended 40 days after the last activity"


async def test_jobs_are_finished_and_hooks_endpoints_keys_and_audit_log_are_read(upgraded: Business) -> None:
    workspace, page = upgraded.ctx.workspace, PageRequest(100)
    for job in (await workspace.jobs.page(page)).items:
        await STAGES["jobs"](upgraded.worker, job.id)
    assert {job.status for job in (await workspace.jobs.page(page)).items} == {JobStatus.SUCCEEDED}
    [hook] = (await workspace.hooks.page(page)).items
    [delivery] = (await workspace.inbound.page(hook.id, DeliveryStatus.FAILED, page)).items
    assert delivery.problems
    [endpoint] = (await workspace.webhooks.page(page)).items
    assert (await workspace.partitions.states([endpoint.id]))[endpoint.id].position >= 0
    assert {key.name for key in (await workspace.keys.page(page)).items} >= {"till"}
    assert len((await workspace.audit.page(page)).items) == 10


async def test_every_hour_with_events_is_marked_before_rollups_answer(
    upgraded: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash in the middle leaves the workspace incomplete, and the next start marks its hours again."""
    db, workspace_id = upgraded.ctx.resources.db, upgraded.ctx.workspace.id
    upgrades, reported = Upgrades(db, 100), list[int]()
    with monkeypatch.context() as patch:
        patch.setattr(RollupMarking, "complete_workspace", AsyncMock(side_effect=Crash))
        with pytest.raises(Crash):
            await upgrades.mark_hours()
    assert await db["workspaces"].count_documents({"_id": workspace_id, "marked": True}) == 0
    await upgrades.mark_hours(lambda _, count: reported.append(count))
    assert await db["workspaces"].count_documents({"_id": workspace_id, "marked": True}) == 1
    instants = [doc["occurred_at"] async for doc in db["events"].find({"occurred_at": {"$gte": EARLIEST}})]
    hours = {Level.HOUR.start_ms(to_ms(instant)) for instant in instants}
    heads = await db["rollup_heads"].find({"workspace": workspace_id, "dirty": {"$gte": 0}}).to_list(None)
    assert {to_ms(head["start"]) for head in heads} == hours
    assert reported[-1] == len(hours)


async def test_passes_with_made_events_in_their_outbox_name_the_earliest(business: Business) -> None:
    """Version 0.1.0 had no rules, but versions between the two left such outboxes."""
    await define(business, "points", PER_DOLLAR)
    await business.record({"amount": 100})
    await Sweep(business.worker, STAGES).fold()
    passes = business.ctx.resources.db["passes"]
    stored = await passes.find_one({"made_at": {"$exists": True}})
    assert stored is not None
    await passes.update_many({}, {"$unset": {"made_at": ""}})
    marking = RollupMarking(business.ctx.resources.db, 100)
    await marking.note_made_events(business.ctx.workspace.id)
    again = await passes.find_one({"_id": stored["_id"]})
    assert again == stored
