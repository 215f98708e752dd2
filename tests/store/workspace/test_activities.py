"""The activity log in the store."""

from __future__ import annotations

from hypothesis import given

from app.domain.activities import Activity, ActivityQuery
from app.store.mongo.paging import PageRequest
from app.store.workspace.activities import from_doc, to_doc
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
