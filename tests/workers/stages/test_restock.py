"""Units of rewards whose redemption was never recorded: they are freed, and what was recorded keeps its units."""

from __future__ import annotations

from app.commands.rewards.redemptions import RedemptionInput, parse_redemption, record_redemption
from app.commands.rewards.stock import take_units
from app.domain.events.receipts import RecordStatus
from app.domain.ids import redemption_event_id
from app.domain.rewards.redemptions import RedemptionStatus
from app.store.workspace.stock import MAX_NUMBERS_READ
from tests.business import Business
from tests.commands.rewards.shop import codes, create, redeem, request, roll_back
from workers.main import STAGES
from workers.sweep import Sweep

LONG_AGO_MS = 1


async def restock(business: Business, *, age: bool = True) -> None:
    if age:
        for name in ("reward_units", "reward_codes"):
            await business.ctx.resources.db[name].update_many({"open": {"$gte": 0}}, {"$set": {"open": LONG_AGO_MS}})
    await Sweep(business.worker, STAGES).restock()


async def take(business: Business, reward_id: str, redeemed: str, quantity: int = 1) -> bool:
    pass_id = (await business.read_pass()).id
    return await take_units(
        business.ctx.workspace.stock, reward_id, redeemed, pass_id=pass_id, quantity=quantity, total=3, may_repeat=True
    )


async def test_units_of_a_redemption_that_never_arrived_are_freed_after_ten_minutes(business: Business) -> None:
    reward = await create(business, pointsCost=0, limits={"total": 3})
    await business.create_passes("ann")
    assert await take(business, reward.id, "red_1", 3)
    await restock(business, age=False)
    assert codes(await redeem(business)) == ["SOLD_OUT"]
    await restock(business)
    assert await business.ctx.workspace.stock.held("red_1") == []
    assert (await redeem(business, quantity=3)).status is RedemptionStatus.SUCCEEDED


async def test_late_event_of_freed_units_is_refused(business: Business) -> None:
    """A call that stalls between taking its units and recording its event loses both."""
    reward = await create(business, pointsCost=0, limits={"total": 3})
    await business.create_passes("ann")
    assert await take(business, reward.id, "red_1")
    await restock(business)
    asked = RedemptionInput(reward_key="coffee", pass_external_id="ann", external_id="1")
    draft, version, pass_id = await parse_redemption(business.ctx, asked)
    late = await record_redemption(
        business.ctx, draft, version, pass_id=pass_id, identity=redemption_event_id("red_1"), quantity=1
    )
    assert late.status is RecordStatus.REJECTED


async def test_accepted_redemption_keeps_its_units_and_is_not_looked_at_again(business: Business) -> None:
    reward = await create(business, pointsCost=0, limits={"total": 3})
    await business.create_passes("ann")
    found = await redeem(business, external_id="1")
    assert found.id is not None
    # A repeat took a second unit and crashed.
    assert await take(business, reward.id, found.id, 2)
    pending = await request(business)
    await restock(business)
    stock = business.ctx.workspace.stock
    assert await stock.held(found.id) == [(reward.id, 1)]
    assert await stock.held(pending) == [(reward.id, 3)]
    assert await stock.open_units(LONG_AGO_MS + 1, 10) == []


async def test_units_of_declined_and_rolled_back_redemptions_are_freed(business: Business) -> None:
    reward = await create(business, pointsCost=5, limits={"total": 3})
    await business.create_passes("ann")
    declined = await redeem(business)
    assert codes(declined) == ["INSUFFICIENT_POINTS"]
    await business.record({"type": "point_add", "points": 5})
    await business.run_worker()
    rolled = await redeem(business)
    await roll_back(business, rolled.id)
    await restock(business)
    assert await business.ctx.workspace.stock.count_taken(reward.id, 1, 3) == 0


async def test_freed_number_is_found_although_it_is_not_remembered(business: Business) -> None:
    total = MAX_NUMBERS_READ + 10
    reward = await create(business, pointsCost=0, limits={"total": total})
    await business.create_passes("ann")
    stock = business.ctx.workspace.stock
    numbers = await stock.reserve(reward.id, total, total)
    await stock.insert(reward.id, numbers, redemption_id="red_1", pass_id="pass_1", system_ms=1)
    assert codes(await redeem(business)) == ["SOLD_OUT"]
    # The process that frees the units crashes after the delete.
    lost = [7, total - 3]
    await business.ctx.resources.db["reward_units"].delete_many({"n": {"$in": lost}, "reward": reward.id})
    found = [await redeem(business) for _ in range(3)]
    assert [each.status.value for each in found] == ["SUCCEEDED", "SUCCEEDED", "FAILED"]
    held = [number for each in found[:2] for _, number in await stock.held(each.id or "")]
    assert sorted(held) == lost
