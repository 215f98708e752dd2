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

from app.clock import FixedClock
from app.commands.events.record import record_events
from app.commands.passes.removals import erase_pass, remove_events
from app.domain.activities import ActivityQuery
from app.domain.events.events import EventInput, EventQuery
from app.domain.ids import event_id
from app.flow import SLOT_RANGES
from app.resources import Resources
from app.store.cache import WorkspaceCache
from app.store.mongo.paging import PageRequest
from app.store.mongo.queries import CHUNK, Doc
from app.store.operations.indexes import INDEXES
from app.store.operations.sharding import SHARD_KEYS
from tests.business import Business, bought_within, create_business, open_business
from tests.wire.mongos import Broadcasts, apply_many, refuse_single_writes, refuse_unique_indexes
from tests.wire.proxy import Rule, through
from workers.stages.fold import fold
from workers.stages.publish import publish

pytestmark = pytest.mark.embedded_only("the proxy stands before a store on this machine")

BROADCASTS = {
    "record new events": set[str](),
    "record them again by the external id of their pass": set[str](),
    "record them again by the id of their pass": set[str](),
    "fold": {"find events by pend"},
    "fold a removal": {"find events by pend"},
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
        with broadcasts.during("publish"):
            await publish(business.worker, store.id)
        with broadcasts.during("read the feed"):
            log = await store.activities.page(ActivityQuery(pass_id=card.id), PageRequest(10))
            assert await store.activities.get_many([each.id for each in log.items])
            assert await store.activities.after(0, 10)
        with broadcasts.during("read the history of a pass"):
            page = await store.events.page(EventQuery(pass_id=card.id), PageRequest(10))
            assert len(await store.events.get_many([event.id for event in page.items])) == 3
    assert {doing: set(sent) for doing, sent in broadcasts.sent.items()} == BROADCASTS
    assert broadcasts.asked.keys() == BROADCASTS.keys()


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
