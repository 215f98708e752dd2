"""deleteEvents removes what matches once, whatever dies between its steps, and tells exactly how many that were."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from app.commands.jobs.jobs import cancel_job
from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import delete_events
from app.domain.events.events import EventQuery
from app.domain.events.tombstones import target_of
from app.domain.jobs import Job, JobStatus
from app.store.stages.job_leases import JobLeases
from app.store.workspace.events import EventQueries
from app.store.workspace.removals import RemovalQueries
from tests.business import Business
from tests.deaths import Killed
from workers.jobs import removals
from workers.stages.run_job import jobs

from .test_imports import finished

PURCHASES = EventQuery(types=("purchase",))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removals, "REMOVAL_BATCH_SIZE", 4)


async def recorded(business: Business, count: int) -> None:
    items = ({"amount": 1, "external_id": str(n), "pass_external_id": f"p{n % 6}"} for n in range(count))
    await business.record(*items, {"type": "visit", "external_id": "v"})
    await business.settle()


async def asked(business: Business, query: EventQuery = PURCHASES) -> Job:
    job, count = await delete_events(business.ctx, query)
    assert job is not None
    assert count is None
    return job


def dies_at(call: int, *, before: bool) -> Callable[[Callable[..., Awaitable[Any]]], Callable[..., Awaitable[Any]]]:
    """A step that kills its process at one of its calls."""

    def mortal(step: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        calls = 0

        async def wrapper(*args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call and before:
                raise Killed
            answer = await step(*args, **options)
            if calls == call:
                raise Killed
            return answer

        return wrapper

    return mortal


STEPS = [(RemovalQueries, "insert"), (JobLeases, "commit"), (EventQueries, "walk")]


async def test_who_dies_between_its_steps_is_followed_and_every_event_is_removed_and_counted_once(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WH2-09; the fold empties what was removed before the job is taken up again."""
    await recorded(business, 48)
    total = 0
    for owner, step in STEPS:
        for call, before in ((1, False), (2, True)):
            job = await asked(business, EventQuery(types=("purchase",), pass_id=(await business.card(f"p{total}")).id))
            with monkeypatch.context() as dying:
                dying.setattr(owner, step, dies_at(call, before=before)(getattr(owner, step)))
                with pytest.raises(Killed):
                    await jobs(business.worker, job.id)
            await business.settle()
            await business.ctx.resources.db["jobs"].update_one({"_id": job.id}, {"$set": {"lease": 0}})
            ended = await finished(business, job)
            assert (ended.status, ended.result["deleted"]) == (JobStatus.SUCCEEDED, 8), (
                step,
                call,
            )
            total += 1
    await business.settle()
    docs = await business.ctx.resources.db["events"].find({}).to_list(None)
    assert sum("removed" in doc for doc in docs) == sum(target_of(doc["_id"]) is not None for doc in docs) == 48
    assert [doc["external_id"] for doc in docs if doc.get("type") == "visit"] == ["v"]


async def test_two_jobs_over_the_same_events_count_each_event_once(business: Business) -> None:
    await recorded(business, 10)
    first, second = await asked(business), await asked(business)
    for job in (first, second):
        await jobs(business.worker, job.id)
    results = [(await finished(business, job)).result["deleted"] for job in (first, second)]
    assert results == [10, 0]


async def test_a_cancelled_deletion_keeps_what_it_has_not_come_to(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await recorded(business, 10)
    job = await asked(business)
    insert = RemovalQueries.insert

    async def cancelling(*args: Any) -> Any:
        await cancel_job(business.ctx, job.id)
        return await insert(*args)

    monkeypatch.setattr(RemovalQueries, "insert", cancelling)
    ended = await finished(business, job)
    assert (ended.status, ended.result["deleted"]) == (JobStatus.CANCELLED, 4)
    await business.settle()
    assert await business.ctx.workspace.events.count(PURCHASES) == 6


async def test_what_is_recorded_after_it_was_asked_for_stays_and_updates_of_passes_too(business: Business) -> None:
    await recorded(business, 5)
    job = await asked(business, EventQuery(recorded_after=await business.clock.now()))
    business.clock.set(await business.clock.now() + timedelta(seconds=1))
    await business.record({"amount": 7, "external_id": "later"})
    assert (await finished(business, job)).result["deleted"] == 6
    await business.settle()
    assert [event.external_id for event in (await business.ctx.workspace.events.walk(EventQuery()))[0]] == ["later"]


async def test_of_a_pass_everything_goes_that_was_recorded_on_it_or_on_what_it_answers_for_wherever_it_is_by_now(
    business: Business,
) -> None:
    """A1-15: one event waits at a merged pass, one has moved with the pass since, one came to it too late."""
    ids = {card.external_id: card.id for card in await business.join("ann", "bob", "cas", "dan")}
    known, workspace = business.ctx.resources.cache, business.ctx.workspace
    await business.record(*({"external_id": name, "pass_external_id": name} for name in ids))
    await merge_passes(business.ctx, ids["ann"], ids["bob"])
    await business.settle()
    known.remember_pass(workspace.id, ids["bob"], "bob", since=known.last_epoch(workspace.id))
    await business.record({"external_id": "unheard", "pass_external_id": "bob"})
    _, count = await delete_events(business.ctx, EventQuery(pass_id=ids["ann"]), dry_run=True)
    assert count == 3
    job = await asked(business, EventQuery(pass_id=ids["ann"]))
    business.clock.set(await business.clock.now() + timedelta(seconds=1))
    await business.record({"external_id": "later"})
    await merge_passes(business.ctx, ids["ann"], ids["dan"])
    await business.settle()
    await merge_passes(business.ctx, ids["cas"], ids["ann"])
    await business.settle()
    assert (await finished(business, job)).result["deleted"] == 3
    await business.settle()
    assert {event.external_id for event in (await workspace.events.walk(EventQuery()))[0]} == {"cas", "dan", "later"}
