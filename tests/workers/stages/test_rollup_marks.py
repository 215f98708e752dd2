"""Marks: which hours a stage marks, and that a crash between two writes loses no mark."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from app.commands.passes.passes import update_pass
from app.commands.passes.removals import erase_pass, remove_events
from app.domain.events.events import Event
from app.domain.events.tombstones import tombstone_id
from app.domain.ids import slot_of
from app.domain.rollups.levels import Level
from app.domain.rollups.marks import HeadKey
from app.domain.values.instants import HOUR_MS, to_ms
from app.store.codecs.rollups import head_id
from app.store.mongo.queries import Doc, insert_new
from app.store.stages.erase import EraseQueries
from app.store.stages.fold import FoldQueries
from app.store.stages.publish import PublishQueries
from app.store.stages.rollup_marks import RollupMarkQueries
from app.store.workspace import rollup_heads
from tests.business import Business
from tests.crashes import Crash
from tests.workers.stages.test_rules import PER_DOLLAR, define
from workers.main import STAGES
from workers.sweep import Sweep

NOON_MS = to_ms(datetime(2025, 12, 31, 12, tzinfo=UTC))
Step = tuple[type, str]
CLEAR: Step = (FoldQueries, "clear")
MARK: Step = (RollupMarkQueries, "mark_hours")


async def read_marks(business: Business) -> Mapping[int, int]:
    """Return the mark of each marked head of an hour, by hours after noon of the last day of 2025."""
    where = {"workspace": business.ctx.workspace.id, "dirty": {"$gte": 0}}
    docs = await business.ctx.resources.db["rollup_heads"].find(where).to_list(None)
    for doc in docs:
        assert doc["_id"] == head_id(doc["workspace"], Level(doc["level"]), to_ms(doc["start"]))
    return {(to_ms(doc["start"]) - NOON_MS) // HOUR_MS: doc["dirty"] for doc in docs}


async def unmark_all(business: Business) -> None:
    """Seal all hours, as if their contents were written."""
    await business.ctx.resources.db["rollup_heads"].update_many(
        {}, {"$unset": {"dirty": "", "is_dirty": ""}, "$set": {"sealed": 1}}
    )


async def record_at(business: Business, at: str, **item: object) -> Event:
    """Record a purchase of 2025-12-31 at a time of day, and return it."""
    [result] = (await business.record({"amount": 1, "occurred_at": f"2025-12-31T{at}:00Z", **item})).results
    assert result.event is not None
    return result.event


async def run_and_crash(business: Business, monkeypatch: pytest.MonkeyPatch, step: Step) -> None:
    """Run the worker, which crashes before the first call of the step that has something to do."""
    owner, name = step
    original: Callable[..., Awaitable[Any]] = getattr(owner, name)

    async def crash_at_work(self: Any, *args: Any, **options: Any) -> Any:
        work = [each for each in args if isinstance(each, (list, dict))]
        if any(work) or not work:
            raise Crash
        return await original(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, crash_at_work)
        with pytest.raises(Crash):
            await business.run_worker()


async def test_hour_of_an_event_is_marked_before_the_event_is_cleared(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record_at(business, "12:59")
    await record_at(business, "13:00")
    await run_and_crash(business, monkeypatch, CLEAR)
    first = await read_marks(business)
    assert first.keys() == {0, 1}
    await unmark_all(business)
    await business.run_worker()
    repeated = await read_marks(business)
    assert repeated.keys() == {0, 1}, "the fold after the crash clears the events, so it marks, too"
    assert set(first.values()).isdisjoint(repeated.values()), "each mark has a new value"


async def test_internal_events_mark_no_hour(business: Business) -> None:
    event = await record_at(business, "12:00")
    await business.run_worker()
    await unmark_all(business)
    await update_pass(business.ctx, event.pass_id, fields={"tier": "gold"})
    await business.run_worker()
    assert await read_marks(business) == {}


@pytest.mark.parametrize("is_named", [True, False])
async def test_hour_of_a_removed_event_is_marked_after_it_is_a_stub(
    business: Business, monkeypatch: pytest.MonkeyPatch, is_named: bool
) -> None:
    """Tombstones of earlier versions do not name the hour. The stub has no instant, so the tombstone gets it before."""
    events = business.ctx.resources.db["events"]
    event = await record_at(business, "15:30")
    await business.run_worker()
    await unmark_all(business)
    await remove_events(business.ctx, [(event.pass_id, event.id)])
    if not is_named:
        await events.update_one({"_id": tombstone_id(event.id)}, {"$unset": {"hour": ""}})
    await run_and_crash(business, monkeypatch, MARK)
    stored = await events.find_one({"_id": event.id})
    assert stored is not None
    assert "removed" in stored
    assert await read_marks(business) == {}
    await business.run_worker()
    assert (await read_marks(business)).keys() == {3}


async def test_worker_that_finds_a_target_emptied_reads_its_hour_from_the_tombstone(business: Business) -> None:
    """Another worker has stored the hour and emptied the target since the tombstone was read without the hour."""
    event = await record_at(business, "15:30")
    await business.run_worker()
    await remove_events(business.ctx, [(event.pass_id, event.id)])
    await business.worker.fold_queries.replace_by_stubs([(business.ctx.workspace.id, event.pass_id, event.id)], 0)
    tombstone = tombstone_id(event.id)
    workspace_ids = {tombstone: business.ctx.workspace.id}
    marks = business.worker.rollup_marks
    found = await marks.store_target_hours({tombstone: event.id}, workspace_ids=workspace_ids)
    assert found == {tombstone: Level.HOUR.start_ms(event.occurred_ms)}


async def test_hours_of_made_events_are_marked_between_the_insert_and_the_pull(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the pull, the pass says by `made_at` that rollups lack an event."""
    await define(business, "points", PER_DOLLAR)
    passes = business.ctx.resources.db["passes"]
    await business.record({"amount": 100})
    await business.run_worker()
    await unmark_all(business)
    await business.record({"amount": 50})
    await Sweep(business.worker, STAGES).fold()
    await unmark_all(business)
    await run_and_crash(business, monkeypatch, (PublishQueries, "published"))
    card = await business.read_pass()
    [made] = [each for each in card.made_events if each.type == "point_add"]
    assert await business.ctx.workspace.events.get_many([made.id]) != {}
    assert (await read_marks(business)).keys() == {12}
    stored = await passes.find_one({"_id": card.id})
    assert stored is not None
    assert stored["made_at"] == made.occurred_ms
    await unmark_all(business)
    await business.run_worker()
    assert (await read_marks(business)).keys() == {12}
    assert await passes.count_documents({"made_at": {"$exists": True}}) == 0


@pytest.mark.parametrize("step", [MARK, (EraseQueries, "take_out_batches"), (EraseQueries, "finish")])
async def test_hours_of_an_erased_pass_are_marked_although_a_worker_crashes(
    business: Business, monkeypatch: pytest.MonkeyPatch, step: Step
) -> None:
    """The stub names the hours of a batch before the batch is emptied."""
    monkeypatch.setattr("workers.stages.erase.CACHE_EXPIRY_SECONDS", 0.0)
    business.worker.erase_queries._in_chunk = 2
    events = [await record_at(business, f"{hour}:05", pass_external_id="ann") for hour in range(12, 17)]
    await business.run_worker()
    await unmark_all(business)
    await erase_pass(business.ctx, external_id="ann")
    await run_and_crash(business, monkeypatch, step)
    await business.run_worker()
    assert (await read_marks(business)).keys() == set(range(5))
    stored = await business.ctx.resources.db["passes"].find_one({"_id": events[0].pass_id})
    assert stored is not None
    assert "gone" in stored
    assert "batches" not in stored


async def test_fold_leaves_the_events_of_a_pass_that_is_being_erased(business: Business) -> None:
    """Only the erase stage notes their hours: a merge may have moved an event here that rollups hold already."""
    events = business.ctx.resources.db["events"]
    event = await record_at(business, "12:00")
    await business.run_worker()
    await erase_pass(business.ctx, external_id="ann")
    await Sweep(business.worker, STAGES).fold()
    moved = {"pend": slot_of(event.pass_id), "moved": {"home": "pass_other", "n": 1, "told": True}}
    await events.update_one({"_id": event.id}, {"$set": moved})
    await Sweep(business.worker, STAGES).fold()
    stored = await events.find_one({"_id": event.id})
    assert stored is not None
    assert "removed" not in stored


async def test_head_that_another_process_inserts_meanwhile_gets_a_mark_of_its_own(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark of the other process may be older than the removal that this call is for."""
    keys = [HeadKey(business.ctx.workspace.id, Level.HOUR, NOON_MS + number * HOUR_MS) for number in range(4)]
    db = business.ctx.resources.db

    async def insert_second(collection: Any, docs: Sequence[Doc]) -> set[int]:
        await insert_new(
            collection, [{**doc, "dirty": 1, "is_dirty": 1} for doc in docs if doc["_id"] == head_id(*keys[2])]
        )
        return await insert_new(collection, docs)

    await rollup_heads.mark_heads(db, keys[:2], 10)
    first = await read_marks(business)
    monkeypatch.setattr(rollup_heads, "insert_new", insert_second)
    await rollup_heads.mark_heads(db, keys, 10)
    second = await read_marks(business)
    assert sorted(second) == [0, 1, 2, 3]
    assert not {1, *first.values()} & set(second.values())


async def test_marking_heads_that_exist_inserts_nothing(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import of old events marks the same hours in many rounds. An update takes much less than an upsert."""
    keys = [HeadKey(business.ctx.workspace.id, Level.HOUR, NOON_MS + number * HOUR_MS) for number in range(4)]
    db = business.ctx.resources.db
    await rollup_heads.mark_heads(db, keys, 10)
    first = await read_marks(business)
    monkeypatch.delattr(rollup_heads, "insert_new")
    await rollup_heads.mark_heads(db, [*keys, *keys], 3)
    second = await read_marks(business)
    assert first.keys() == second.keys()
    assert not set(first.values()) & set(second.values())
