"""The history of segments equals the log, whatever crashes, and costs nothing where nobody enters or leaves."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from unittest.mock import AsyncMock

import pytest

from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import erase_pass
from app.commands.segments import archive_segment
from app.store.mongo.queries import Collection
from app.store.operations.consistency import Finding
from app.store.operations.history_check import HistoryCheck
from app.store.operations.restored import Restoration
from app.store.operations.truncation import TruncationQueries
from app.store.operations.upgrades import Upgrades
from app.store.workspace.segment_history import SegmentHistory
from tests.business import Business, bought_within, purchases
from tests.crashes import Crash
from workers.stages.publish import publish_once
from workers.worker import Worker

HISTORY = ("intervals", "segment_days", "histories")


async def check(business: Business) -> int:
    """Assert that the history is that of the log, and return the number of intervals."""
    findings: list[Finding] = []
    resources = business.ctx.resources
    checks = HistoryCheck(resources.db, resources.in_chunk)
    count = await checks.check([business.ctx.workspace.id], findings.append)
    assert [str(each) for each in findings] == []
    return count


async def read_all(business: Business) -> dict[str, list[Any]]:
    """Return all documents of the history."""
    db = business.ctx.resources.db
    return {name: await db[name].find({}).sort("_id", 1).to_list(None) for name in HISTORY}


async def enter_and_leave(business: Business) -> None:
    """Let five passes enter a segment and leave it by time, and one enter again. One more segment is archived."""
    await business.create_segment("recent", bought_within(30))
    anyone = await business.create_segment("anyone", purchases(1), notify="SILENT")
    await business.record(*({"pass_external_id": f"p{n}"} for n in range(5)))
    await business.run_worker()
    business.clock.set(datetime(2026, 3, 1, tzinfo=UTC))
    await business.run_worker()
    await business.record({"pass_external_id": "p0", "occurred_at": datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)})
    await archive_segment(business.ctx, anyone.id)
    await business.run_worker()


async def test_history_equals_the_log_with_silent_transitions(business: Business) -> None:
    await enter_and_leave(business)
    assert await check(business) == 11
    days = await business.ctx.resources.db["segment_days"].find({"entered": {"$gt": 0}}).to_list(None)
    assert sorted((doc["day"].day, doc["entered"]) for doc in days) == [(1, 5), (1, 5), (28, 1)]


@pytest.mark.parametrize("step", ["_write_intervals", "_count_days", "advance", "published"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_next_publisher_completes_the_history_after_a_crash(
    business: Business, monkeypatch: pytest.MonkeyPatch, step: str, moment: str
) -> None:
    """The history is written before the outboxes are emptied, so what a crash left out is found there."""
    target: Any = business.worker.publish_queries if step == "published" else SegmentHistory
    original = getattr(target, step)

    async def crash(*args: Any, **options: Any) -> None:
        if moment == "after":
            await original(*args, **options)
        raise Crash

    await business.create_segment("recent", bought_within(30))
    for start in (datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 20, tzinfo=UTC)):
        business.clock.set(start)
        await business.record(*({"pass_external_id": f"{start.day}-{n}"} for n in range(3)))
        with monkeypatch.context() as crashing:
            crashing.setattr(target, step, crash)
            with pytest.raises(Crash):
                await business.run_worker()
        if start.day == 20:
            business.worker = Worker.on(business.ctx.resources)
        await business.run_worker()
    business.clock.set(datetime(2026, 3, 1, tzinfo=UTC))
    await business.run_worker()
    assert await check(business) == 6


async def test_history_of_an_earlier_version_is_built_from_its_log(business: Business) -> None:
    """Memberships and exits of an earlier version do not name the entry."""
    await enter_and_leave(business)
    before = await read_all(business)
    db = business.ctx.resources.db
    for name in HISTORY:
        await db[name].delete_many({})
    await db["activities"].update_many({}, {"$unset": {"entered": ""}})
    await db["passes"].update_many({"memberships.s": {"$gt": ""}}, {"$unset": {"memberships.0.n": ""}})
    await Upgrades(db, 100).build_histories()
    after = await read_all(business)
    assert after["intervals"] == before["intervals"]
    assert [{**doc, "pos": 0} for doc in after["segment_days"]] == [{**doc, "pos": 0} for doc in before["segment_days"]]
    business.clock.set(datetime(2026, 6, 1, tzinfo=UTC))
    business.worker = Worker.on(business.ctx.resources)
    await business.run_worker()
    assert await db["intervals"].count_documents({"left": None}) == 0
    assert await check(business) == 11


async def test_survivor_answers_for_a_merged_pass_and_nobody_for_an_erased_one(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.stages.erase.CACHE_EXPIRY_SECONDS", 0.0)
    await enter_and_leave(business)
    ids = await business.ctx.workspace.passes.ids_of([f"p{n}" for n in range(5)])
    await merge_passes(business.ctx, ids["p0"], ids["p1"])
    await erase_pass(business.ctx, pass_id=ids["p2"])
    await business.run_worker()
    await check(business)
    db = business.ctx.resources.db
    answering = {doc.get("pass") for doc in await db["intervals"].find({}).to_list(None)}
    assert answering == {ids["p0"], ids["p3"], ids["p4"], None}
    # As version 0.1.0 left an erased pass.
    await db["passes"].delete_one({"_id": ids["p2"]})
    for name in HISTORY:
        await db[name].delete_many({})
    await business.ctx.workspace.history.follow(await business.ctx.workspace.activities.last_pos())
    await check(business)
    assert {doc.get("pass") for doc in await db["intervals"].find({}).to_list(None)} == answering


async def test_erased_survivor_does_not_come_back_with_a_merge_that_ends_later(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an election, the erasure may not see that a merged pass leads to the erased one."""
    monkeypatch.setattr("workers.stages.erase.CACHE_EXPIRY_SECONDS", 0.0)
    await enter_and_leave(business)
    ids = await business.ctx.workspace.passes.ids_of(["p1", "p2"])
    await merge_passes(business.ctx, ids["p1"], ids["p2"])
    with monkeypatch.context() as interrupted:
        # The erasure below ends while the merge waits.
        interrupted.setattr("workers.stages.merge.merge_once", AsyncMock(return_value=False))
        await business.run_worker()
        await erase_pass(business.ctx, pass_id=ids["p1"])
        interrupted.setattr(business.worker.merge_queries, "aliases", AsyncMock(return_value=[]))
        await business.run_worker()
    await business.run_worker()
    answering = {doc.get("pass") for doc in await business.ctx.resources.db["intervals"].find({}).to_list(None)}
    assert answering.isdisjoint(ids.values())
    await check(business)


async def test_slow_merge_does_not_bring_an_erased_pass_back(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker ends the merge, and the erasure follows, between the read and the write of a slow one."""
    await enter_and_leave(business)
    ids = await business.ctx.workspace.passes.ids_of(["p1", "p2"])
    history = business.ctx.workspace.history
    collections = type(business.ctx.resources.db["intervals"])
    write = collections.bulk_write

    async def write_late(collection: Collection, *args: Any, **options: Any) -> object:
        monkeypatch.setattr(collections, "bulk_write", write)
        await history.move(ids["p2"], ids["p1"])
        await history.erase([ids["p1"]])
        return await collection.bulk_write(*args, **options)

    monkeypatch.setattr(collections, "bulk_write", write_late)
    await history.move(ids["p2"], ids["p1"])
    answering = {doc.get("pass") for doc in await business.ctx.resources.db["intervals"].find({}).to_list(None)}
    assert answering.isdisjoint(ids.values())


async def test_log_is_not_truncated_before_its_transitions_are_written(business: Business) -> None:
    await enter_and_leave(business)
    db = business.ctx.resources.db
    last = await business.ctx.workspace.activities.last_pos()
    queries = TruncationQueries(db, 100)
    assert (await queries.plan(business.ctx.workspace.id, upto=last)).cut == last - 1
    await db["histories"].update_one({}, {"$set": {"pos": 3}})
    assert 3 <= (await queries.plan(business.ctx.workspace.id, upto=last)).cut < last - 1


async def test_history_ahead_of_a_restored_log_is_built_again(business: Business) -> None:
    """A backup that is not of one moment may hold stays whose entries the log does not have."""
    await enter_and_leave(business)
    db = business.ctx.resources.db
    last = await business.ctx.workspace.activities.last_pos()
    await db["histories"].update_one({}, {"$set": {"pos": last + 5}})
    await db["segment_days"].update_one({}, {"$set": {"pos": last + 5}, "$inc": {"entered": 2}})
    await Restoration(db, 100).begin_epoch(datetime(2026, 3, 1, tzinfo=UTC))
    business.worker = Worker.on(business.ctx.resources)
    business.clock.set(datetime(2026, 3, 2, tzinfo=UTC))
    await business.record({"pass_external_id": "p1"})
    await business.run_worker()
    assert await check(business) == 12


async def test_nothing_is_written_or_read_where_nobody_enters_or_leaves(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise AssertionError("a round trip for nothing")

    await business.record({"pass_external_id": "ann"})
    await business.run_worker()
    for name in ("position", "record", "advance", "follow"):
        monkeypatch.setattr(SegmentHistory, name, fail)
    await business.record({"pass_external_id": "ann"}, {"pass_external_id": "bob"})
    await business.run_worker()
    assert not await publish_once(business.worker, business.ctx.workspace.id)
