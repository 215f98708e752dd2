"""Redemptions: what succeeds, what fails and why, and that repeats, rollbacks, merges and erasures lose nothing."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.commands.passes.merges import merge_passes
from app.commands.passes.passes import update_pass
from app.commands.passes.removals import erase_pass
from app.commands.rewards.redemptions import RedemptionInput, redeem_reward
from app.commands.rewards.rewards import archive_reward, update_reward
from app.commands.rewards.stock import free_units
from app.domain.activities import POINTS_EXPIRED, REDEEMED, REDEMPTION_FAILED, ROLLBACK_FAILED, ROLLED_BACK
from app.domain.definitions import Definitions
from app.domain.errors import Refused
from app.domain.events.event_queries import EventQuery
from app.domain.events.guards import OutcomeStatus
from app.domain.events.tombstones import Tombstone
from app.domain.fold.recomputation import Recomputation
from app.domain.rewards.redemptions import RedemptionStatus
from app.store.mongo.paging import PageRequest
from tests.business import Business, purchases

from .shop import codes, create, give_points, read, redeem, request, roll_back

PENDING, SUCCEEDED, FAILED, ROLLED = RedemptionStatus


async def refusal(business: Business, **sent: Any) -> dict[str, str]:
    asked = {"reward_key": "coffee", "pass_external_id": "ann", **sent}
    with pytest.raises(Refused) as refused:
        await redeem_reward(business.ctx, RedemptionInput(**asked), wait_seconds=0)
    return {".".join(problem.field): problem.code.value for problem in refused.value.problems}


async def test_redemption_spends_points_once_they_suffice(business: Business) -> None:
    """A1-11: the balance decides, and what it does not cover is declined."""
    await create(business)
    await give_points(business, 150, "ann")
    pending = await request(business)
    assert (await read(business, pending)).status is PENDING
    await business.run_worker()
    found = await read(business, pending)
    assert (found.status, found.reasons) == (SUCCEEDED, ())
    assert [found.points_spent, found.balance_after] == [100, 50]
    failed = await redeem(business)
    assert failed.status is FAILED
    assert [failed.points_spent, failed.balance_after] == [0, 50]
    assert codes(failed) == ["INSUFFICIENT_POINTS"]
    assert failed.reasons[0].message == "The pass has 50 points; 100 are needed."
    card = await business.read_pass()
    assert [card.points, card.redeemed[found.reward_id].total] == [50, 1]


async def test_reward_can_be_redeemed_in_the_instant_at_which_it_was_made(business: Business) -> None:
    """With a manual clock, or clocks of two processes that differ, a redemption may follow the reward in no time."""
    await give_points(business, 150, "ann")
    reward = await create(business)
    assert (await redeem(business)).status is SUCCEEDED
    await update_reward(business.ctx, reward.id, {"pointsCost": 50})
    found = await redeem(business)
    assert (found.status, found.points_spent) == (SUCCEEDED, Decimal(50))
    await business.record({"amount": 5}, {"amount": 6, "source": "till"})
    at_the_till = {"event": {"types": ["purchase"], "sources": ["till"], "value": 1}}
    await create(business, key="tea", pointsCost=0, criteria=at_the_till)
    assert (await redeem(business, reward="tea")).status is SUCCEEDED
    await archive_reward(business.ctx, reward.id)
    assert codes(await redeem(business)) == ["NOT_ACTIVE"]


async def test_activities_tell_of_redemptions_and_rollbacks(business: Business) -> None:
    await create(business, code={"pattern": "A-######"})
    await give_points(business, 100, "ann")
    accepted, declined = await redeem(business), await redeem(business)
    await roll_back(business, accepted.id, "spilled")
    await roll_back(business, declined.id)
    log = await business.read_log(types=(REDEEMED, REDEMPTION_FAILED, ROLLED_BACK, ROLLBACK_FAILED))
    assert [each.type for each in log] == [REDEEMED, REDEMPTION_FAILED, ROLLED_BACK, ROLLBACK_FAILED]
    done, failed, rolled, not_rolled = (each.data for each in log)
    assert done["redemption"] == {
        "id": accepted.id, "rewardKey": "coffee", "quantity": 1, "pointsSpent": "100", "code": accepted.code,
    }  # fmt: skip
    assert failed["redemption"] == {"id": declined.id, "rewardKey": "coffee", "quantity": 1}
    assert failed["reasons"] == [{"code": "INSUFFICIENT_POINTS", "message": declined.reasons[0].message}]
    assert rolled["redemption"] == {
        "id": accepted.id, "rewardKey": "coffee", "quantity": 1, "pointsReturned": "100", "reason": "spilled",
    }  # fmt: skip
    assert "NOT_COUNTED" in str(not_rolled["reasons"])


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ({"quantity": 0}, {"quantity": "OUT_OF_RANGE"}),
        ({"quantity": 1_001}, {"quantity": "OUT_OF_RANGE"}),
        ({"quantity": 3}, {"quantity": "OUT_OF_RANGE"}),
        ({"reward_key": "tea"}, {"rewardKey": "UNKNOWN"}),
        ({"reward_key": "No key"}, {"rewardKey": "INVALID"}),
        ({"pass_external_id": "nobody"}, {"passExternalId": "UNKNOWN"}),
        ({"pass_id": "pass_1"}, {"passId": "INVALID"}),
        ({"metadata": "text"}, {"metadata": "INVALID"}),
    ],
)
async def test_wrong_input_is_refused_and_nothing_is_recorded(
    business: Business, sent: dict[str, Any], found: dict[str, str]
) -> None:
    await create(business, limits={"perRequest": 2})
    await give_points(business, 500, "ann")
    assert await refusal(business, **sent) == found
    assert await business.ctx.workspace.events.count(EventQuery(types=("redemption",))) == 0


async def test_repeat_with_an_external_id_gets_the_same_redemption(business: Business) -> None:
    await create(business, code={"pattern": "A-######"}, limits={"total": 5})
    await give_points(business, 250, "ann")
    first = await redeem(business, external_id="till-1:7", metadata={"till": 1})
    assert first.id is not None
    await update_reward(business.ctx, first.reward_id, {"pointsCost": 7, "code": None})
    again = await redeem(business, external_id="till-1:7", metadata={"till": 1})
    assert again == first
    assert (await business.read_pass()).points == 150
    assert len(await business.ctx.workspace.stock.held(first.id)) == 1
    assert await refusal(business, external_id="till-1:7", metadata={"till": 2}) == {"externalId": "CONFLICT"}
    assert await refusal(business, external_id="till-1:7", metadata={"till": 1}, quantity=2) == {
        "externalId": "CONFLICT"
    }


async def test_stock_is_sold_once_and_the_rest_is_told(business: Business) -> None:
    await create(business, pointsCost=0, limits={"total": 3})
    names = [f"p{number}" for number in range(5)]
    await business.create_passes(*names)
    asked = [await request(business, name, external_id=name) for name in names]
    await business.run_worker()
    found = [await read(business, each) for each in asked]
    assert [each.status for each in found] == [SUCCEEDED] * 3 + [FAILED] * 2
    assert {reason.code for each in found for reason in each.reasons} == {"SOLD_OUT"}
    again = await redeem(business, "p4", external_id="p4")
    assert again == found[4]


async def test_higher_total_adds_units_and_a_lower_one_takes_none_back(business: Business) -> None:
    reward = await create(business, pointsCost=0, limits={"total": 2})
    await business.create_passes("ann")
    assert [(await redeem(business)).status for _ in range(3)] == [SUCCEEDED, SUCCEEDED, FAILED]
    await update_reward(business.ctx, reward.id, {"limits": {"total": 3}})
    assert [(await redeem(business)).status for _ in range(2)] == [SUCCEEDED, FAILED]
    await update_reward(business.ctx, reward.id, {"limits": {"total": 1}})
    assert (await redeem(business)).status is FAILED
    await update_reward(business.ctx, reward.id, {"limits": None})
    assert (await redeem(business)).status is SUCCEEDED
    assert (await business.read_pass()).redeemed[reward.id].total == 4


async def test_two_hundred_concurrent_redemptions_of_100_points_give_exactly_ten(business: Business) -> None:
    await create(business, pointsCost=10)
    await give_points(business, 100, "ann")
    asked = await asyncio.gather(*(request(business) for _ in range(200)))
    await business.run_worker()
    found = [await read(business, each) for each in asked]
    assert [each.status for each in found].count(SUCCEEDED) == 10
    assert {reason.code for each in found for reason in each.reasons} == {"INSUFFICIENT_POINTS"}
    assert (await business.read_pass()).points == 0


async def test_concurrent_redemptions_of_a_stock_give_each_unit_once(business: Business) -> None:
    """A smaller form of 1,000 passes and 100 units."""
    reward = await create(business, pointsCost=0, limits={"total": 10})
    names = [f"p{number}" for number in range(60)]
    await business.create_passes(*names)
    asked = await asyncio.gather(*(request(business, name) for name in names))
    await business.run_worker()
    found = [await read(business, each) for each in asked]
    assert [each.status for each in found].count(SUCCEEDED) == 10
    assert await business.ctx.workspace.stock.count_taken(reward.id, 1, 10) == 10


async def test_concurrent_repeats_take_no_unit_twice(business: Business) -> None:
    await create(business, pointsCost=0, limits={"total": 40})
    names = [f"p{number}" for number in range(20)]
    await business.create_passes(*names)
    asked = await asyncio.gather(*(request(business, name, external_id=name) for name in names * 3))
    await business.run_worker()
    found = {each: await read(business, each) for each in asked}
    assert [each.status for each in found.values()] == [SUCCEEDED] * 20
    for each in found:
        await free_units(business.ctx.workspace.stock, each, keep=1)
        assert len(await business.ctx.workspace.stock.held(each)) == 1


async def test_rollback_gives_points_and_allowance_back_once(business: Business) -> None:
    await create(business, limits={"perPass": {"count": 1, "calendar": "DAY"}})
    await give_points(business, 300, "ann")
    first = await redeem(business)
    assert codes(await redeem(business)) == ["LIMIT_PER_PASS"]
    rolled = await roll_back(business, first.id, "spilled")
    assert rolled.status is ROLLED
    assert rolled.points_spent == 0
    assert (await business.read_pass()).points == 300
    assert await roll_back(business, first.id) == rolled
    assert (await business.read_pass()).points == 300
    second = await redeem(business)
    assert second.status is SUCCEEDED
    business.clock.set(await business.clock.now() + timedelta(days=1))
    assert (await redeem(business)).status is SUCCEEDED


async def test_rollback_after_the_end_of_points_lets_them_end_at_once(business: Business) -> None:
    """The stored pass equals its recomputation after each step."""
    await create(business, code={"pattern": "A-######"})
    now = await business.clock.now()
    soon, late = ((now + timedelta(days=days)).isoformat() for days in (2, 30))
    await business.record(
        {"type": "point_add", "points": 70, "points_expire_at": soon, "external_id": "soon"},
        {"type": "point_add", "points": 50, "points_expire_at": late, "external_id": "late"},
    )
    await business.run_worker()
    found = await redeem(business)
    assert [lot.remaining for lot in ((await business.read_pass()).lots or {}).values()] == [20]
    await check_pass(business)
    business.clock.set(now + timedelta(days=3))
    await roll_back(business, found.id)
    card = await business.read_pass()
    assert card.points == 50
    assert [lot.remaining for lot in (card.lots or {}).values()] == [50]
    [ended] = await business.read_log(types=(POINTS_EXPIRED,))
    assert (ended.occurred_at, ended.data["points"]) == (now + timedelta(days=3), "70")
    await check_pass(business)


async def check_pass(business: Business) -> None:
    """Compare the stored pass with its recomputation from the events that count."""
    card = await business.read_pass()
    events, _ = await business.ctx.workspace.events.scan(EventQuery(pass_id=card.id))
    recomputation = Recomputation(card)
    recomputation.add([event for event in events if event.outcome.status is OutcomeStatus.COUNTED])
    definitions = Definitions(await business.ctx.workspace.definitions.versions())
    assert recomputation.find_differences(definitions) == []


async def test_failed_redemption_cannot_be_rolled_back(business: Business) -> None:
    await create(business)
    await give_points(business, 5, "ann")
    failed = await redeem(business)
    assert (await roll_back(business, failed.id)).status is FAILED
    assert (await business.read_pass()).points == 5


async def test_rollback_of_a_pending_redemption_follows_its_outcome(business: Business) -> None:
    await create(business)
    await give_points(business, 100, "ann")
    accepted, declined = await request(business), await request(business)
    for each in (accepted, declined):
        await roll_back(business, each)
    found = {(await read(business, each)).status for each in (accepted, declined)}
    assert ROLLED in found
    assert (await business.read_pass()).points == 100


async def test_criteria_may_require_or_exclude_a_segment(business: Business) -> None:
    """V1-13: only members may redeem, or all but members."""
    segment = await business.create_segment("loyal", purchases(1))
    await create(business, pointsCost=0, criteria={"segment": {"id": segment.id}})
    await create(business, pointsCost=0, key="welcome", criteria={"not": {"segment": {"id": segment.id}}})
    await business.create_passes("ann")
    assert codes(await redeem(business)) == ["NOT_IN_SEGMENT"]
    assert (await redeem(business, reward="welcome")).status is SUCCEEDED
    await business.record({"amount": 5})
    assert (await redeem(business)).status is SUCCEEDED
    assert codes(await redeem(business, reward="welcome")) == ["NOT_IN_SEGMENT"]


async def test_pass_and_reward_must_be_active(business: Business) -> None:
    now = await business.clock.now()
    later = (now + timedelta(days=2)).isoformat()
    reward = await create(business, pointsCost=0, active={"to": later})
    await business.create_passes("ann")
    ann = await business.read_pass()
    await update_pass(business.ctx, ann.id, status="INACTIVE")
    assert codes(await redeem(business)) == ["PASS_NOT_ACTIVE"]
    await update_pass(business.ctx, ann.id, status="ACTIVE")
    assert (await redeem(business)).status is SUCCEEDED
    business.clock.set(now + timedelta(days=2))
    assert codes(await redeem(business)) == ["NOT_ACTIVE"]
    await archive_reward(business.ctx, reward.id)
    assert codes(await redeem(business)) == ["NOT_ACTIVE"]


async def test_codes_are_unique_and_only_of_redemptions_that_succeeded(business: Business) -> None:
    await create(business, code={"pattern": "COFFEE-######"})
    await give_points(business, 300, "ann")
    found = [await redeem(business) for _ in range(4)]
    codes_found = [each.code for each in found]
    assert codes_found[3] is None
    assert len({*codes_found}) == 4
    assert all(code is None or code.startswith("COFFEE-") for code in codes_found)


async def test_merge_takes_redemptions_and_limits_along(business: Business) -> None:
    await create(business, limits={"perPass": {"count": 2}})
    await give_points(business, 200, "ann", "bob")
    first, pending = await redeem(business, "bob"), await request(business, "bob")
    ann, bob = await business.read_pass("ann"), await business.read_pass("bob")
    await merge_passes(business.ctx, ann.id, bob.id)
    await business.run_worker()
    found = [await read(business, each) for each in (first.id or "", pending)]
    assert [each.status for each in found] == [SUCCEEDED, SUCCEEDED]
    assert codes(await redeem(business, "ann")) == ["LIMIT_PER_PASS"]
    assert (await business.read_pass("ann")).points == 200
    page = await business.ctx.workspace.redemptions.page(ann.id, PageRequest(10))
    assert len(page.items) == 3
    assert (await roll_back(business, first.id)).status is ROLLED
    assert (await business.read_pass("ann")).points == 300


async def test_erasure_keeps_units_and_codes_without_names(business: Business) -> None:
    await create(business, pointsCost=0, limits={"total": 1}, code={"pattern": "A-######"})
    await business.create_passes("ann", "bob")
    found = await redeem(business)
    assert found.id is not None
    ann = await business.read_pass()
    await erase_pass(business.ctx, pass_id=ann.id)
    await business.run_worker()
    db = business.ctx.resources.db
    [unit] = await db["reward_units"].find({"workspace": business.ctx.workspace.id}).to_list(None)
    [code] = await db["reward_codes"].find({"workspace": business.ctx.workspace.id}).to_list(None)
    assert {"of", "pass"}.isdisjoint(unit.keys() | code.keys())
    assert found.code is not None
    names = await db.list_collection_names()
    documents = [doc for name in names for doc in await db[name].find({}).to_list(None)]
    assert [doc for doc in documents if found.code in str(doc)] == []
    assert codes(await redeem(business, "bob")) == ["SOLD_OUT"]
    assert not await business.ctx.workspace.codes.claim(found.code, "red_other", "pass_other", system_ms=1)


async def test_pass_erased_between_call_and_fold_gives_a_clear_answer(business: Business) -> None:
    await create(business, pointsCost=0)
    await business.create_passes("ann")
    ann = await business.read_pass()
    asked = await request(business, external_id="1")
    await erase_pass(business.ctx, pass_id=ann.id)
    await business.run_worker()
    assert await business.ctx.workspace.events.get_many([f"event_{asked.removeprefix('red_')}"]) == {}
    await business.create_passes("ann")
    assert await refusal(business, external_id="1") == {"externalId": "EVENT_REMOVED"}


async def test_removed_redemption_gives_points_and_allowance_back(business: Business) -> None:
    await create(business, limits={"perPass": {"count": 1}})
    await give_points(business, 100, "ann")
    found = await redeem(business)
    assert found.event is not None
    business.clock.set(await business.clock.now() + timedelta(seconds=1))
    tombstone = Tombstone(found.event.pass_id, found.event.id, await business.clock.now())
    await business.ctx.workspace.removals.insert([tombstone], business.ctx.origin)
    await business.run_worker()
    card = await business.read_pass()
    assert card.points == 100
    assert card.redeemed == {}
    assert (await redeem(business)).status is SUCCEEDED
