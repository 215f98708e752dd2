"""Publish: the log is dense and contains every activity once, although publishers race and crash."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from app.flow import SLOT_RANGES
from app.resources import Resources
from app.store.stages import publish as publish_queries
from tests.backlogs import ExaminedCollection, OtherBulkWrite, insert_passes
from tests.business import Business, create_business
from tests.crashes import Crash
from tests.patience import PATIENCE_SECONDS
from workers.main import GUARDED
from workers.stages import publish as publish_stage
from workers.stages.fold import fold_once
from workers.stages.publish import ENTRIES_PER_PASS, publish_once
from workers.sweep import Sweep
from workers.worker import Worker


async def record_and_fold(business: Business, count: int) -> None:
    await business.record(*({"amount": 1, "pass_external_id": f"p{i % 5}"} for i in range(count)))
    await fold_all(business)


async def fold_all(business: Business) -> None:
    for key in SLOT_RANGES:
        while await fold_once(business.worker, key):
            pass


async def check_log(business: Business, count: int) -> None:
    """Assert that the log has `count` activities without a hole, and that all outboxes are empty."""
    feed = await business.read_log()
    assert [a.position for a in feed] == list(range(1, count + 1))
    for pass_id in {a.pass_id for a in feed}:
        numbers = [a.pass_sequence for a in feed if a.pass_id == pass_id]
        assert numbers == list(range(1, len(numbers) + 1))
    assert await business.ctx.resources.db["passes"].count_documents({"pub": {"$gte": 0}}) == 0
    assert await business.ctx.resources.db["passes"].count_documents({"out.n": {"$gte": 0}}) == 0


async def test_concurrent_publishers_leave_no_hole_and_no_duplicate(business: Business) -> None:
    workers = [Worker.on(business.ctx.resources) for _ in range(4)]
    for _ in range(5):
        await record_and_fold(business, 20)
        await asyncio.gather(*(publish_once(worker, business.ctx.workspace.id) for worker in workers))
    while await publish_once(business.worker, business.ctx.workspace.id):
        pass
    await check_log(business, 105)


@pytest.mark.parametrize("step", ["append", "published"])
async def test_next_publisher_finishes_after_a_crash(
    business: Business, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    async def crash(*_: Any, **__: Any) -> None:
        raise Crash

    await record_and_fold(business, 20)
    target = business.worker.publish_queries if step == "published" else type(business.ctx.workspace.activities)
    with monkeypatch.context() as crashing:
        crashing.setattr(target, step, crash)
        with pytest.raises(Crash):
            await publish_once(business.worker, business.ctx.workspace.id)
    await record_and_fold(business, 10)
    await business.run_worker()
    await check_log(business, 35)


async def test_entries_added_while_publishing_stay_announced(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record_and_fold(business, 5)
    published = business.worker.publish_queries.published

    async def record_then_mark_published(up_to: Any, **options: Any) -> None:
        await record_and_fold(business, 5)
        await published(up_to, **options)

    with monkeypatch.context() as patch:
        patch.setattr(business.worker.publish_queries, "published", record_then_mark_published)
        await publish_once(business.worker, business.ctx.workspace.id)
    assert await business.ctx.resources.db["passes"].count_documents({"pub": {"$gte": 0}}) == 5
    await business.run_worker()
    await check_log(business, 15)


async def test_only_passes_with_newer_entries_are_written_twice(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record_and_fold(business, 5)
    queries, db = business.worker.publish_queries, business.ctx.resources.db
    numbers = {doc["_id"]: doc["n"] for doc in await db["passes"].find({}, {"n": 1}).to_list(None)}
    first, *_ = numbers
    sent: list[int] = []

    async def count_operations(operations: list[Any], **options: Any) -> Any:
        sent.append(len(operations))
        return await db["passes"].bulk_write(operations, **options)

    monkeypatch.setattr(queries, "_passes", OtherBulkWrite(db["passes"], count_operations))
    await queries.published({**numbers, first: numbers[first] - 1}, workspace_id=business.ctx.workspace.id)
    assert sent == [5, 1]
    left = await db["passes"].find({"out.n": {"$gte": 0}}).to_list(None)
    assert [(doc["_id"], [entry["n"] for entry in doc["out"]]) for doc in left] == [(first, [numbers[first]])]
    assert [doc["_id"] for doc in await db["passes"].find({"pub": {"$gte": 0}}).to_list(None)] == [first]


async def test_round_is_bounded_and_still_in_order_of_recording(business: Business) -> None:
    """A round stays small however much is unpublished: 200 passes with 1,000 entries each would not fit into memory."""
    await business.record(*({"pass_external_id": "ann"} for _ in range(2 * ENTRIES_PER_PASS)))
    await fold_all(business)
    business.clock.set(datetime(2026, 1, 2, tzinfo=UTC))
    await business.record({"pass_external_id": "bob"})
    await fold_all(business)
    positions = []
    while await publish_once(business.worker, business.ctx.workspace.id):
        positions.append(await business.ctx.workspace.activities.last_pos())
    assert positions == [ENTRIES_PER_PASS, 2 * ENTRIES_PER_PASS, 2 * ENTRIES_PER_PASS + 3]
    recorded = [activity.recorded_at for activity in await business.read_log()]
    assert recorded == sorted(recorded)


async def test_sweep_repeats_a_look_that_failed(business: Business) -> None:
    resources = business.ctx.resources
    often = dataclasses.replace(resources, settings=dataclasses.replace(resources.settings, sweep_seconds=0.01))
    worker, stopping, calls = Worker.on(often), asyncio.Event(), 0

    async def fail_once() -> set[str]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise KeyError("unexpected")
        stopping.set()
        return set()

    worker.publish_queries.waiting_workspaces = fail_once  # type: ignore[method-assign]
    await asyncio.wait_for(Sweep(worker, GUARDED).run(stopping), PATIENCE_SECONDS)
    assert calls > 1


async def test_rounds_examine_about_as_many_passes_as_they_publish(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round costs the same whatever waits. Only the first round of a worker examines the whole backlog."""
    monkeypatch.setattr(publish_stage, "PASSES_PER_ROUND", 20)
    ids = await insert_passes(business, 300, unpublished=True)
    queries, workspace_id = business.worker.publish_queries, business.ctx.workspace.id
    queries._passes = examined = ExaminedCollection(queries._passes)  # type: ignore[assignment]
    await publish_once(business.worker, workspace_id)
    assert examined.examined == [300]
    rounds = 1
    while await publish_once(business.worker, workspace_id):
        rounds += 1
    assert max(examined.examined[1:]) <= 3 * 20
    assert sum(examined.examined[1:]) <= 2 * 300
    assert rounds <= 2 * 300 / 20
    published = [activity.pass_id for activity in await business.read_log()]
    assert sorted(published) == sorted(ids)
    assert all(abs(published.index(pass_id) - number) < 20 for number, pass_id in enumerate(ids)), "oldest first"


async def test_round_takes_first_what_an_older_version_left_unpublished(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish_stage, "PASSES_PER_ROUND", 20)
    ids = await insert_passes(business, 100, unpublished=True)
    await publish_once(business.worker, business.ctx.workspace.id)
    await business.ctx.resources.db["passes"].update_one({"_id": ids[-1]}, {"$set": {"pub": 1}})
    await publish_once(business.worker, business.ctx.workspace.id)
    await business.run_worker()
    feed = await business.read_log()
    assert len(feed) == 100
    assert ids[-1] in {activity.pass_id for activity in feed[20:40]}


async def test_backlog_that_grows_faster_than_the_looks_hides_no_workspace_for_ever(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every look is full, because each time more passes come than it reads. Another workspace waits before its position."""
    monkeypatch.setattr(publish_queries, "LOOK_SIZE", 20)
    clock_ms = iter(range(1_000, 2_000, 40))
    monkeypatch.setattr(publish_queries, "system_ms", lambda: next(clock_ms))
    passes, queries = business.ctx.resources.db["passes"], business.worker.publish_queries
    found = list[set[str]]()
    for look in range(10):
        first_ms = 1_000 + 40 * look
        await passes.insert_many(
            [{"_id": f"pass_{at}", "workspace": "ws_long", "pub": at} for at in range(first_ms, first_ms + 40)]
        )
        if look == 3:
            await passes.insert_one({"_id": "pass_other", "workspace": "ws_other", "pub": 1_000})
        found.append(await queries.waiting_workspaces())
    assert all("ws_long" in each for each in found)
    assert "ws_other" in set().union(*found)


async def test_long_backlog_hides_other_workspaces_for_some_looks_only(
    resources: Resources, business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish_queries, "LOOK_SIZE", 20)
    other = await create_business(resources, business.clock, "Other")
    await insert_passes(business, 200, unpublished=True)
    await insert_passes(other, 1, unpublished=True)
    queries = business.worker.publish_queries
    queries._passes = examined = ExaminedCollection(queries._passes)  # type: ignore[assignment]
    looks = [await queries.waiting_workspaces() for _ in range(40)]
    both = {business.ctx.workspace.id, other.ctx.workspace.id}
    assert set().union(*looks[:20]) == set().union(*looks[20:]) == both
    assert max(examined.examined[1:]) <= 3 * 20
