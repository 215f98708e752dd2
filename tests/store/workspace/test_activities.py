"""The activity log in the store."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given

from app.domain.activities import Activity
from app.domain.activity_queries import ActivityQuery
from app.store.mongo.paging import PageRequest
from app.store.workspace.activities import ActivityQueries, from_doc, to_doc
from tests.backlogs import ExaminedCollection
from tests.business import Business, bought_within
from tests.store.generated import activities, encode_and_decode


@given(activities)
def test_decoded_activity_equals_the_encoded_one(activity: Activity) -> None:
    assert from_doc(encode_and_decode(to_doc(activity, "ws_1"))) == activity


async def test_log_is_read_from_any_position_without_a_hole(business: Business) -> None:
    await business.record(*({"amount": n} for n in range(9)))
    await business.run_worker()
    log = business.ctx.workspace.activities
    assert await log.last_pos() == await log.last_pos(4) == 10
    for pos in range(12):
        assert [a.position for a in await log.after(pos, 4)] == list(range(pos + 1, min(pos + 4, 10) + 1))


async def test_last_position_is_searched_from_the_position_seen_before(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded server sorts all activities from there on, so each start of a stream would read the whole log."""
    begins = []
    last_pos = ActivityQueries.last_pos

    async def observe(queries: ActivityQueries, from_pos: int = 0) -> int:
        begins.append(from_pos)
        return await last_pos(queries, from_pos)

    monkeypatch.setattr(ActivityQueries, "last_pos", observe)
    await business.record({"amount": 1})
    await business.run_worker()
    begins.clear()
    workspace = business.ctx.resources.workspace(business.ctx.workspace.id)
    assert await asyncio.gather(*(workspace.last_position() for _ in range(3))) == [2, 2, 2]
    assert begins == [0, 2, 2]
    await business.record({"amount": 2})
    await business.run_worker()
    assert await business.ctx.resources.workspace(workspace.id).last_position() == 3
    assert begins[-1] == 2


async def test_last_position_follows_a_log_that_was_restored_from_an_older_copy(business: Business) -> None:
    await business.record({"amount": 1})
    await business.run_worker()
    workspace = business.ctx.workspace
    assert await workspace.last_position() == 2
    await business.ctx.resources.db["activities"].delete_one({"pos": 2})
    assert await workspace.last_position() == 1
    await business.ctx.resources.db["activities"].delete_many({})
    assert await workspace.last_position() == 0


@pytest.mark.parametrize("front", [0, 40])
async def test_search_for_the_last_position_reads_few_activities(
    business: Business, monkeypatch: pytest.MonkeyPatch, front: int
) -> None:
    monkeypatch.setattr("app.store.workspace.activities.POSITIONS_READ", 4)
    await business.record(*({"amount": number} for number in range(119)))
    await business.run_worker()
    db, workspace = business.ctx.resources.db, business.ctx.workspace
    await db["activities"].delete_many({"pos": {"$lte": front}})
    await db["workspaces"].update_one({"_id": workspace.id}, {"$set": {"front": front}})
    log = ActivityQueries(db, workspace.id, 100)
    log._collection = ExaminedCollection(log._collection)  # type: ignore[assignment]
    for last in range(120, front, -7):
        await db["activities"].delete_many({"pos": {"$gt": last}})
        assert {await log.last_pos(seen) for seen in {0, front, last // 2, last - 1, last, last + 9}} == {last}
    assert max(log._collection.examined) <= 5


async def test_append_stops_at_the_first_position_that_exists(business: Business) -> None:
    await business.record({"amount": 1})
    await business.run_worker()
    log = business.ctx.workspace.activities
    existing = (await log.after(0, 10))[-1]
    assert await log.append([existing]) == 0
    assert await log.last_pos() == existing.position


async def test_each_part_of_a_query_narrows_the_list(business: Business) -> None:
    segment = await business.create_segment("recent", bought_within(30), notify="EMIT")
    await business.record({"amount": 1}, {"amount": 2, "pass_external_id": "bob", "type": "refund"})
    await business.run_worker()
    log = business.ctx.workspace.activities
    ann, bob = (await business.read_pass("ann")).id, (await business.read_pass("bob")).id

    async def read(**query: object) -> list[tuple[str, str]]:
        found = (await log.page(ActivityQuery(**query), PageRequest(100))).items  # type: ignore[arg-type]
        assert await log.count(ActivityQuery(**query)) == len(found)  # type: ignore[arg-type]
        return [("ann" if a.pass_id == ann else "bob", a.type.rpartition("customer.")[2]) for a in found]

    everything = [("ann", "created"), ("ann", "custom_event"), ("ann", "segment.entered")]
    assert sorted(await read(pass_id=ann)) == everything
    assert sorted(await read(pass_id=bob)) == [("bob", "created"), ("bob", "custom_event")]
    assert await read(segment_ids=(segment.id,)) == await read(category="EFFECT") == [("ann", "segment.entered")]
    assert sorted(await read(types=("customer.created",))) == [("ann", "created"), ("bob", "created")]
    both = await read(types=("customer.created", "customer.segment.entered"), pass_id=ann)
    assert sorted(both) == [("ann", "created"), ("ann", "segment.entered")]
