"""On a sharded MongoDB, which operations go to every shard, and that uncertain updates of many documents lose nothing.

The decision 0069 says what would bring the rest to one shard.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from pymongo.errors import OperationFailure

from app.bus import Bus
from app.clock import FixedClock
from app.commands.events.record import record_events
from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import erase_pass, remove_events
from app.domain.activity_queries import ActivityQuery
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import EventInput
from app.domain.ids import event_id, slot_of
from app.flow import SLOT_RANGES, range_of
from app.resources import Resources
from app.store.cache import WorkspaceCache
from app.store.mongo.paging import PageRequest
from app.store.mongo.queries import CHUNK, Doc
from app.store.operations.indexes import INDEXES
from app.store.operations.sharding import SHARD_KEYS
from tests.business import Business, bought_within, create_business, open_business
from tests.wire.mongos import Broadcasts, ShardClocks, apply_many, refuse_single_writes, refuse_unique_indexes
from tests.wire.proxy import Rule, through
from workers.main import STAGES
from workers.stages.due import due
from workers.stages.erase import erase
from workers.stages.fold import fold
from workers.stages.merge import merge
from workers.stages.publish import publish
from workers.stages.react import run_workspace
from workers.sweep import Sweep

pytestmark = pytest.mark.embedded_only("the proxy stands before a store on this machine")

BROADCASTS = {
    "record new events": set[str](),
    "record them again by the external id of their pass": set[str](),
    "record them again by the id of their pass": set[str](),
    "fold": set[str](),
    "fold a removal": set[str](),
    "fold what a wake-up named": set[str](),
    "advance what is due": {"find passes by due slot"},
    "look for work as a sweep": {
        "find passes by due slot",
        "find passes by erasing",
        "find passes by merging",
        "find passes by pub",
    },
    "merge and erase": {"find passes by _id"},
    "publish": set[str](),
    "read the feed": set[str](),
    "read the history of a pass": set[str](),
}
"""By what a test does, the kinds of operations that go to every shard. Take kinds out; never add one."""


@asynccontextmanager
async def behind(rules: Sequence[Rule], resources: Resources, clock: FixedClock) -> AsyncIterator[Business]:
    """Create a workspace whose store lies behind these rules and takes the same queries as a MongoDB."""
    await open_business(resources, clock)
    async with through(rules, resources.settings) as db:
        yield await create_business(
            dataclasses.replace(resources, db=db, in_chunk=CHUNK, is_embedded=False, is_sharded=True), clock, "Sharded"
        )


async def fold_all(business: Business) -> None:
    await asyncio.gather(*(fold(business.worker, key) for key in SLOT_RANGES))


async def test_kinds_of_operations_that_go_to_every_shard(resources: Resources, clock: FixedClock) -> None:
    broadcasts = Broadcasts()
    async with behind([broadcasts.rule(), refuse_single_writes], resources, clock) as business:
        store = business.ctx.workspace
        items = [{"external_id": str(n), "pass_external_id": f"p{n % 2}", "source": "till"} for n in range(6)]
        with broadcasts.during("record new events"):
            await business.record(*items)
        with broadcasts.during("fold"):
            await fold_all(business)
        card = await business.read_pass("p0")
        again = [EventInput(type="purchase", pass_id=card.id, external_id=str(n), source="till") for n in (0, 2, 4)]
        with broadcasts.during("record them again by the id of their pass"):
            await record_events(business.ctx, again)
        with broadcasts.during("record them again by the external id of their pass"):
            for cache in (WorkspaceCache(), WorkspaceCache()):
                other = dataclasses.replace(business.ctx.resources, cache=cache)
                again = [EventInput(type="purchase", pass_external_id="p0", external_id="0", source="till")]
                await record_events(dataclasses.replace(business.ctx, resources=other), again)
        await business.create_segment("lately", bought_within(30))
        await business.record({"external_id": "next", "pass_external_id": "p0"})
        await fold_all(business)
        await remove_events(business.ctx, [(card.id, event_id(store.id, "till", "0"))])
        with broadcasts.during("fold a removal"):
            await fold_all(business)
        with broadcasts.during("advance what is due"):
            await asyncio.gather(*(due(business.worker, key) for key in SLOT_RANGES))
        with broadcasts.during("publish"):
            await publish(business.worker, store.id)
        with broadcasts.during("read the feed"):
            log = await store.activities.page(ActivityQuery(pass_id=card.id), PageRequest(10))
            assert await store.activities.get_many([each.id for each in log.items])
            assert await store.activities.after(0, 10)
        with broadcasts.during("read the history of a pass"):
            page = await store.events.page(EventQuery(pass_id=card.id), PageRequest(10))
            assert len(await store.events.get_many([event.id for event in page.items])) == 3
        await business.record({"external_id": "woken", "pass_external_id": "p1"})
        woken = (await business.read_pass("p1")).id
        with broadcasts.during("fold what a wake-up named"):
            await fold(business.worker, f"{range_of(slot_of(woken))}/{store.id}")
        with broadcasts.during("look for work as a sweep"):
            sweep = Sweep(business.worker, STAGES)
            for step in (sweep.fold, sweep.advance_due, sweep.backfill, sweep.publish, sweep.merge, sweep.erase):
                await step()
        await merge_passes(business.ctx, card.id, woken)
        with broadcasts.during("merge and erase"):
            await fold_all(business)
            await publish(business.worker, store.id)
            await merge(business.worker, woken)
            await fold_all(business)
            await erase_pass(business.ctx, pass_id=card.id)
            await fold_all(business)
            await publish(business.worker, store.id)
            await run_workspace(business.worker, store.id)
            for _ in range(2):
                await erase(business.worker, card.id)
        assert await business.ctx.resources.db["erasures"].count_documents({}) == 2
    assert {doing: set(sent) for doing, sent in broadcasts.sent.items()} == BROADCASTS
    assert broadcasts.asked.keys() == BROADCASTS.keys()


async def test_wake_up_reads_only_its_workspace_and_the_sweep_reads_all(
    resources: Resources, clock: FixedClock
) -> None:
    async with behind([], resources, clock) as business:
        other = await create_business(business.ctx.resources, clock, "Other")
        for each in (business, other):
            await each.record({})
        key = range_of(slot_of((await other.read_pass()).id))
        await fold(other.worker, f"{key}/{other.ctx.workspace.id}")
        assert [bool((await each.read_pass()).aggregates) for each in (business, other)] == [False, True]
        # Several queries name the workspaces, as with more than 1,000 of them.
        other.worker.fold_queries._in_chunk = 1
        await fold_all(other)
        assert [bool((await each.read_pass()).aggregates) for each in (business, other)] == [True, True]


async def test_shard_of_the_events_knows_what_the_fold_has_seen_of_their_passes(
    resources: Resources, clock: FixedClock
) -> None:
    """Otherwise an event that another fold has counted may look pending after an election, and counts twice."""
    clocks = ShardClocks()
    async with behind([clocks.rule()], resources, clock) as business:
        for number in range(2):
            await business.record({"external_id": str(number)})
            [ann] = (await business.ctx.workspace.passes.ids_of(["ann"])).values()
            clocks.read_at.clear()
            clocks.events_from.clear()
            await fold(business.worker, range_of(slot_of(ann)))
            assert clocks.events_from[0] == clocks.read_at[0] is not None


async def test_shards_of_the_tombstones_know_what_a_merge_has_seen_of_other_merges(
    resources: Resources, clock: FixedClock
) -> None:
    """Otherwise two merges may form a cycle after an election."""
    clocks = ShardClocks("merges")
    async with behind([clocks.rule()], resources, clock) as business:
        await business.create_passes("ann", "bob", "cas")
        ids = await business.ctx.workspace.passes.ids_of(["ann", "bob", "cas"])
        await merge_passes(business.ctx, ids["ann"], ids["bob"])
        clocks.read_at.clear()
        clocks.events_from.clear()
        await merge_passes(business.ctx, ids["ann"], ids["cas"])
        assert clocks.events_from[-2:] == [clocks.read_at[-1]] * 2


async def test_wake_ups_name_the_workspace_only_on_a_sharded_store(
    resources: Resources, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[str] = []
    monkeypatch.setattr(Bus, "wake", lambda _, stage, *keys: woken.extend(keys if stage == "fold" else ()))
    async with behind([], resources, clock) as business:
        for is_sharded in (True, False):
            shared = dataclasses.replace(business.ctx.resources, is_sharded=is_sharded)
            await record_events(
                dataclasses.replace(business.ctx, resources=shared),
                [EventInput(type="visit", pass_external_id="ann")],
                create_missing_passes=True,
            )
        key = range_of(slot_of((await business.read_pass("ann")).id))
        assert woken == [f"{key}/{business.ctx.workspace.id}", key]


async def test_no_index_is_refused(resources: Resources) -> None:
    async with through([refuse_unique_indexes], resources.settings) as db:
        for collection in SHARD_KEYS:
            for model in INDEXES.get(collection, ()):
                await db[collection].create_indexes([model])
        with pytest.raises(OperationFailure):
            await db["passes"].create_index(["workspace", "external_id"], unique=True)


@pytest.mark.parametrize("times", [0, 1, 2])
async def test_uncertain_updates_of_many_documents_neither_lose_nor_double_events(
    times: int, resources: Resources, clock: FixedClock
) -> None:
    async with behind([apply_many(times)], resources, clock) as business:
        db, items = business.ctx.resources.db, [{"external_id": str(n)} for n in range(5)]
        await business.record(*items)
        await business.run_worker()
        await business.record(*items, {"external_id": "5"})
        await business.run_worker()
        card = await business.read_pass()
        assert sum(row.count for row in card.aggregates.values()) == 6
        assert await db["events"].count_documents({"pend": {"$gte": 0}}) == 0
        activities = await db["activities"].count_documents({})
        await erase_pass(business.ctx, pass_id=card.id)
        await business.run_worker()
        emptied: list[Doc] = await db["activities"].find({"pass": card.id}, {"data": 1}).to_list(None)
        assert len(emptied) == activities + 1
        assert all(each["data"] == {"erased": True} for each in emptied)
