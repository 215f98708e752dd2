"""deleteEvents: every matching event is removed and counted once at a crash of any step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from app.commands.jobs.jobs import cancel_job
from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import delete_events
from app.domain.events.event_queries import EventQuery
from app.domain.events.tombstones import target_of
from app.domain.jobs import Job, JobStatus
from app.store.stages.job_leases import JobLeases
from app.store.workspace.events import EventQueries
from app.store.workspace.removals import RemovalQueries
from tests.business import Business
from tests.crashes import Crash
from workers.jobs import removals
from workers.stages.run_job import jobs

from .test_imports import run_to_end

PURCHASES = EventQuery(types=("purchase",))


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removals, "REMOVAL_BATCH_SIZE", 4)


async def record_purchases(business: Business, count: int) -> None:
    items = ({"amount": 1, "external_id": str(n), "pass_external_id": f"p{n % 6}"} for n in range(count))
    await business.record(*items, {"type": "visit", "external_id": "v"})
    await business.run_worker()


async def start_deletion(business: Business, query: EventQuery = PURCHASES) -> Job:
    job, count = await delete_events(business.ctx, query)
    assert job is not None
    assert count is None
    return job


def crash_at(call: int, *, before: bool) -> Callable[[Callable[..., Awaitable[Any]]], Callable[..., Awaitable[Any]]]:
    """Return a decorator that makes a step crash at one of its calls, before or after its work."""

    def with_crash(step: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        calls = 0

        async def wrapper(*args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call and before:
                raise Crash
            answer = await step(*args, **options)
            if calls == call:
                raise Crash
            return answer

        return wrapper

    return with_crash


STEPS = [(RemovalQueries, "insert"), (JobLeases, "commit"), (EventQueries, "scan")]


async def test_crash_at_any_step_removes_and_counts_each_event_once(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WH2-09. The fold replaces the removed events by stubs before the job goes on."""
    await record_purchases(business, 48)
    total = 0
    for owner, step in STEPS:
        for call, before in ((1, False), (2, True)):
            job = await start_deletion(
                business, EventQuery(types=("purchase",), pass_id=(await business.read_pass(f"p{total}")).id)
            )
            with monkeypatch.context() as crashing:
                crashing.setattr(owner, step, crash_at(call, before=before)(getattr(owner, step)))
                with pytest.raises(Crash):
                    await jobs(business.worker, job.id)
            await business.run_worker()
            await business.ctx.resources.db["jobs"].update_one({"_id": job.id}, {"$set": {"lease": 0}})
            ended = await run_to_end(business, job)
            assert (ended.status, ended.result["deleted"]) == (JobStatus.SUCCEEDED, 8), (
                step,
                call,
            )
            total += 1
    await business.run_worker()
    docs = await business.ctx.resources.db["events"].find({}).to_list(None)
    assert sum("removed" in doc for doc in docs) == sum(target_of(doc["_id"]) is not None for doc in docs) == 48
    assert [doc["external_id"] for doc in docs if doc.get("type") == "visit"] == ["v"]


async def test_two_jobs_over_the_same_events_count_each_event_once(business: Business) -> None:
    await record_purchases(business, 10)
    first, second = await start_deletion(business), await start_deletion(business)
    for job in (first, second):
        await jobs(business.worker, job.id)
    results = [(await run_to_end(business, job)).result["deleted"] for job in (first, second)]
    assert results == [10, 0]


async def test_cancelled_deletion_keeps_the_events_of_later_batches(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record_purchases(business, 10)
    job = await start_deletion(business)
    insert = RemovalQueries.insert

    async def cancelling(*args: Any) -> Any:
        await cancel_job(business.ctx, job.id)
        return await insert(*args)

    monkeypatch.setattr(RemovalQueries, "insert", cancelling)
    ended = await run_to_end(business, job)
    assert (ended.status, ended.result["deleted"]) == (JobStatus.CANCELLED, 4)
    await business.run_worker()
    assert await business.ctx.workspace.events.count(PURCHASES) == 6


async def test_deletion_leaves_later_events_and_updates_of_passes(business: Business) -> None:
    await record_purchases(business, 5)
    job = await start_deletion(business, EventQuery(recorded_after=await business.clock.now()))
    business.clock.set(await business.clock.now() + timedelta(seconds=1))
    await business.record({"amount": 7, "external_id": "later"})
    assert (await run_to_end(business, job)).result["deleted"] == 6
    await business.run_worker()
    assert [event.external_id for event in (await business.ctx.workspace.events.scan(EventQuery()))[0]] == ["later"]


async def test_deletion_by_pass_removes_events_of_merged_and_moved_passes(
    business: Business,
) -> None:
    """A1-15. One event is pending on a merged pass, one has moved to the survivor, one came after the merge."""
    ids = {card.external_id: card.id for card in await business.create_passes("ann", "bob", "cas", "dan")}
    cache, workspace = business.ctx.resources.cache, business.ctx.workspace
    await business.record(*({"external_id": name, "pass_external_id": name} for name in ids))
    await merge_passes(business.ctx, ids["ann"], ids["bob"])
    await business.run_worker()
    cache.remember_pass(workspace.id, ids["bob"], "bob", since=cache.last_epoch(workspace.id))
    await business.record({"external_id": "unheard", "pass_external_id": "bob"})
    _, count = await delete_events(business.ctx, EventQuery(pass_id=ids["ann"]), dry_run=True)
    assert count == 3
    job = await start_deletion(business, EventQuery(pass_id=ids["ann"]))
    business.clock.set(await business.clock.now() + timedelta(seconds=1))
    await business.record({"external_id": "later"})
    await merge_passes(business.ctx, ids["ann"], ids["dan"])
    await business.run_worker()
    await merge_passes(business.ctx, ids["cas"], ids["ann"])
    await business.run_worker()
    assert (await run_to_end(business, job)).result["deleted"] == 3
    await business.run_worker()
    assert {event.external_id for event in (await workspace.events.scan(EventQuery()))[0]} == {"cas", "dan", "later"}
