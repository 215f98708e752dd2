"""Lists of segments: passes that belong to a segment, or do not, whatever its criteria say."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app.commands.passes.lists import change_list
from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import erase_pass
from app.commands.segments import archive_segment, create_segment
from app.domain.errors import Code, Refused
from app.domain.passes.lists import EXCLUDE, INCLUDE
from app.domain.segments.segments import Segment
from tests.business import Business, purchases

STATIC = {"list": True}


async def change(business: Business, segment: Segment, *names: str, adds: bool = True, on: str = INCLUDE) -> None:
    results = await change_list(business.ctx, segment.id, [], names, on, adds=adds)
    assert [each.problem for each in results] == [None] * len(names)
    await business.run_worker()


async def test_members_of_a_static_segment_are_those_of_its_list(business: Business) -> None:
    vip = await business.create_segment("vip", STATIC)
    await business.create_passes("ann", "bob", "eve")
    await change(business, vip, "ann", "bob")
    await change(business, vip, "ann", "eve")
    assert await business.read_members(vip) == ["ann", "bob", "eve"]
    await change(business, vip, "bob", "eve", adds=False)
    assert await business.read_members(vip) == ["ann"]
    log = await business.read_log(segment_ids=[vip.id])
    assert [each.type.rpartition(".")[2] for each in log] == ["entered", "entered", "entered", "left", "left"]
    assert {each.cause["kind"] for each in log} == {"MANUAL"}
    ann = await business.read_pass()
    assert ann.memberships[vip.id].cause["kind"] == "MANUAL"
    assert [each.type for each in await business.read_log(pass_id=ann.id)] == [
        "customer.created",
        "customer.segment.entered",
    ], "a change of a list has no activity of its own"


async def test_lists_win_over_the_criteria_until_the_pass_is_taken_off(business: Business) -> None:
    loyal = await business.create_segment("loyal", purchases(2))
    await business.record({"amount": 1}, {"amount": 1}, {"amount": 1, "pass_external_id": "bob"})
    await business.run_worker()
    assert await business.read_members(loyal) == ["ann"]
    await change(business, loyal, "bob")
    await change(business, loyal, "ann", on=EXCLUDE)
    assert await business.read_members(loyal) == ["bob"]
    await business.record({"amount": 1})
    await business.run_worker()
    assert await business.read_members(loyal) == ["bob"]
    await change(business, loyal, "ann", on=EXCLUDE, adds=False)
    await change(business, loyal, "bob", on=EXCLUDE, adds=False)
    assert await business.read_members(loyal) == ["ann", "bob"]
    await change(business, loyal, "bob", adds=False)
    assert await business.read_members(loyal) == ["ann"]


async def test_other_list_takes_a_pass_over(business: Business) -> None:
    loyal = await business.create_segment("loyal", purchases(2))
    await business.create_passes("ann")
    await change(business, loyal, "ann")
    await change(business, loyal, "ann", on=EXCLUDE)
    assert (await business.read_pass()).profile.lists == {loyal.id: EXCLUDE}
    assert await business.read_members(loyal) == []


async def test_segment_that_names_a_static_one_follows_its_list(business: Business) -> None:
    vip = await business.create_segment("vip", STATIC)
    both = await business.create_segment("both", {"all": [{"segment": {"id": vip.id}}, purchases(1)]})
    await business.record({"amount": 1})
    await change(business, vip, "ann")
    assert await business.read_members(both) == ["ann"]
    await change(business, vip, "ann", adds=False)
    assert await business.read_members(both) == []


async def test_list_follows_the_events_of_a_merged_pass_and_their_order(business: Business) -> None:
    vip = await business.create_segment("vip", STATIC)
    ann, bob = await business.create_passes("ann", "bob")
    await change(business, vip, "ann")
    business.clock.set(await business.clock.now() + timedelta(days=1))
    await merge_passes(business.ctx, bob.id, ann.id)
    await business.run_worker()
    assert await business.read_members(vip) == ["bob"]
    survivor = await business.read_pass("bob")
    assert survivor.profile.lists == {vip.id: INCLUDE}
    await erase_pass(business.ctx, pass_id=bob.id)
    await business.run_worker()
    assert await business.read_members(vip) == []


async def test_late_change_of_a_list_counts_in_the_order_of_the_events(business: Business) -> None:
    loyal = await business.create_segment("loyal", purchases(1))
    await business.record({"amount": 1})
    now = await business.clock.now()
    business.clock.set(now + timedelta(days=2))
    await change(business, loyal, "ann", on=EXCLUDE)
    rebuild = {"type": "field_updated", "field_name": "x", "new_value": "1", "occurred_at": now}
    await business.record(rebuild)
    await business.run_worker()
    assert (await business.read_pass()).profile.lists == {loyal.id: EXCLUDE}
    assert await business.read_members(loyal) == []


async def test_result_of_each_pass_names_what_is_wrong_with_it(business: Business) -> None:
    vip = await business.create_segment("vip", STATIC)
    [ann] = await business.create_passes("ann")
    results = await change_list(
        business.ctx, vip.id, [ann.id, "pass_none", None], ["ann", "nobody", ""], INCLUDE, adds=True
    )
    assert [None if each.problem is None else (each.problem.code, each.problem.field) for each in results] == [
        None,
        (Code.UNKNOWN, ("passIds", "1")),
        (Code.UNKNOWN, ("passIds", "2")),
        None,
        (Code.UNKNOWN, ("passExternalIds", "1")),
        (Code.INVALID, ("passExternalIds", "2")),
    ]
    await business.run_worker()
    assert await business.read_members(vip) == ["ann"]


async def test_unsuitable_segments_and_lists_are_refused(business: Business) -> None:
    async def refuse(segment_id: str, names: list[str], on: str = INCLUDE) -> tuple[Code, tuple[str, ...]]:
        with pytest.raises(Refused) as refused:
            await change_list(business.ctx, segment_id, [], names, on, adds=True)
        [problem] = refused.value.problems
        return problem.code, problem.field

    vip = await business.create_segment("vip", STATIC)
    await business.create_passes("ann")
    assert await refuse("seg_none", ["ann"]) == (Code.UNKNOWN, ("segmentId",))
    assert await refuse(vip.id, []) == (Code.REQUIRED, ("passIds",))
    assert await refuse(vip.id, ["ann"] * 1001) == (Code.TOO_MANY, ("passIds",))
    assert await refuse(vip.id, ["ann"], EXCLUDE) == (Code.INVALID, ("list",))
    await archive_segment(business.ctx, vip.id)
    assert await refuse(vip.id, ["ann"]) == (Code.CONFLICT, ("segmentId",))


@pytest.mark.parametrize(
    ("criteria", "path"),
    [
        ({"list": False}, ("criteria", "list")),
        ({"list": True, "event": {"value": 1}}, ("criteria", "list")),
        ({"all": [{"list": True}]}, ("criteria", "all", "0", "list")),
    ],
)
async def test_list_is_the_whole_of_the_criteria(business: Business, criteria: Any, path: tuple[str, ...]) -> None:
    with pytest.raises(Refused) as refused:
        await create_segment(business.ctx, "vip", "VIP", criteria)
    assert [(problem.code, problem.field) for problem in refused.value.problems] == [(Code.INVALID, path)]


async def test_change_of_a_list_does_not_touch_updated_at(business: Business) -> None:
    vip = await business.create_segment("vip", STATIC)
    [ann] = await business.create_passes("ann")
    await business.run_worker()
    business.clock.set(await business.clock.now() + timedelta(days=1))
    await change(business, vip, "ann")
    assert (await business.read_pass()).updated_at == ann.updated_at
