"""The erase stage: what it waits for before it calls an erasure done."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from app.commands.jobs.exports import export_events
from app.commands.passes.removals import erase_pass
from app.domain.activities import ERASED_DATA
from app.domain.errors import Unavailable
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import Origin
from app.domain.events.tombstones import Tombstone, tombstone_id
from app.domain.files.exports import ExportFormat
from app.domain.jobs import JobStatus
from app.domain.values.instants import from_ms
from app.flow import SLOT_RANGES
from app.store.stages.erase import EraseQueries
from tests.business import Business
from workers.stages.erase import erase, erase_once
from workers.stages.fold import fold_once
from workers.stages.merge import merge_once
from workers.stages.publish import publish_once
from workers.stages.run_job import _now_ms, jobs
from workers.worker import Worker


@pytest.fixture(autouse=True)
def _without_caches_of_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.stages.erase.CACHE_EXPIRY_SECONDS", 0.0)


async def request_erasure(business: Business) -> str:
    """Record an event, request the erasure of its pass, fold and publish it, and return the pass id."""
    await business.record({"pass_external_id": "ann", "external_id": "x"})
    await business.run_worker()
    erasure = await erase_pass(business.ctx, external_id="ann")
    return erasure.pass_id


async def fold_all(worker: Worker) -> None:
    """Fold until nothing is left."""
    for key in SLOT_RANGES:
        while await fold_once(worker, key):
            pass


async def is_done(business: Business, pass_id: str) -> bool:
    erasure = await business.ctx.workspace.removals.erasure(pass_id)
    assert erasure is not None
    return erasure.done


async def test_erasure_is_done_only_when_Redis_answers(business: Business) -> None:
    """Redis may hold persisted documents that name the pass."""
    pass_id = await request_erasure(business)
    worker, resources = business.worker, business.worker.resources
    worker.resources = dataclasses.replace(resources, redis=Redis.from_url("redis://127.0.0.1:1/0"))
    with pytest.raises(Unavailable, match="Redis"):
        await business.run_worker()
    await worker.resources.redis.aclose()
    assert not await is_done(business, pass_id)
    worker.resources = resources
    await erase(worker, pass_id)
    assert await is_done(business, pass_id)


async def test_fold_clears_a_removal_that_a_merge_has_moved_to_a_pass_that_is_gone(business: Business) -> None:
    """Else the fold would find it again and again, and never end."""
    pass_id = await request_erasure(business)
    await business.run_worker()
    assert await is_done(business, pass_id)
    tombstone = Tombstone(pass_id, "event_of_bob", await business.clock.now())
    await business.ctx.workspace.removals.insert([tombstone], Origin("API"))
    events, moved = business.ctx.resources.db["events"], {"home": "pass_bob", "n": 1, "told": False}
    await events.update_one({"_id": tombstone_id("event_of_bob")}, {"$set": {"moved": moved}})
    for key in SLOT_RANGES:
        await fold_once(business.worker, key)
    assert await events.count_documents({"pend": {"$gte": 0}}) == 0


async def test_merged_pass_is_erased_after_its_events_on_a_pass_that_is_gone(business: Business) -> None:
    """The merge was folded after the erasure of the survivor. An event that counted waits there for the fold."""
    await business.record({"pass_external_id": "bob"})
    ann, bob = await request_erasure(business), (await business.read_pass("bob")).id
    removals, worker = business.ctx.workspace.removals, business.worker
    decided = await removals.complete_merge()
    await business.run_worker()
    tombstone = Tombstone(bob, None, await business.clock.now(), into=ann)
    assert await removals.decide_merge(tombstone, business.ctx.origin, decided)
    await fold_all(worker)
    await publish_once(worker, business.ctx.workspace.id)
    await merge_once(worker, bob)
    await erase_once(worker, bob)
    assert await worker.erase_queries.waiting() == [bob]
    await fold_all(worker)
    await erase_once(worker, bob)
    assert await worker.erase_queries.waiting() == []


async def test_interrupted_erasure_empties_no_activity_again(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    pass_id = await request_erasure(business)

    async def fail(*_: object) -> None:
        raise Unavailable("the store")

    with monkeypatch.context() as failing:
        failing.setattr(EraseQueries, "change_erasure_epoch", fail)
        with pytest.raises(Unavailable):
            await business.run_worker()
    card = (await business.worker.fold_queries.passes([pass_id]))[pass_id]
    assert len(await business.read_log()) >= 3
    assert {str(each.data) for each in await business.read_log()} == {str(dict(ERASED_DATA))}
    with monkeypatch.context() as failing:
        failing.setattr("app.store.stages.erase.UpdateOne", None)
        assert await business.worker.erase_queries.empty_activities(card, 0) is not None
    await business.run_worker()
    assert await is_done(business, pass_id)


async def test_erasure_is_done_only_when_no_export_runs(business: Business) -> None:
    """A worker that has read events before they were erased may still write them to a file."""
    await business.record({"pass_external_id": "ann", "external_id": "x"})
    await business.run_worker()
    exported = await export_events(business.ctx, EventQuery(), ExportFormat.JSONL)
    leases, now_ms = business.worker.job_leases, _now_ms()
    run = await leases.claim(exported.id, now_ms)
    assert run is not None
    pass_id = await request_erasure(business)
    await business.run_worker()
    assert not await is_done(business, pass_id)
    job = await business.ctx.workspace.jobs.get(exported.id)
    assert job is not None
    assert job.is_cancelling
    await leases.release(run)
    await jobs(business.worker, exported.id)
    await erase(business.worker, pass_id)
    assert await is_done(business, pass_id)
    ended = await business.ctx.workspace.jobs.get(exported.id)
    assert ended is not None
    assert ended.status is JobStatus.CANCELLED
    assert [warning for warning in ended.warnings if "A pass was erased" in warning]


async def test_export_that_no_worker_runs_is_cancelled_at_once(business: Business) -> None:
    pass_id = await request_erasure(business)
    waiting = await export_events(business.ctx, EventQuery(pass_id=pass_id), ExportFormat.JSONL)
    await business.run_worker()
    ended = await business.ctx.workspace.jobs.get(waiting.id)
    assert ended is not None
    assert (ended.status, ended.file) == (JobStatus.CANCELLED, None)
    assert ended.finished_at is not None
    assert ended.finished_at - from_ms(_now_ms()) < timedelta(minutes=1)
    assert await is_done(business, pass_id)
    assert await erase_once(business.worker, pass_id) is False
