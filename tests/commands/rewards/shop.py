"""A business with rewards: short forms to create, redeem and read."""

from __future__ import annotations

from typing import Any

from app.commands.rewards.redemptions import RedemptionInput, find_redemption, redeem_reward, rollback_redemption
from app.commands.rewards.rewards import create_reward
from app.domain.rewards.redemptions import Redemption
from app.domain.rewards.rewards import LabelledReward
from tests.business import Business

COFFEE: dict[str, Any] = {"key": "coffee", "name": "Free coffee", "pointsCost": 100}


async def create(business: Business, **changes: Any) -> LabelledReward:
    """Create the reward of a free coffee for 100 points, with changes."""
    return await create_reward(business.ctx, {**COFFEE, **changes})


async def give_points(business: Business, points: int, *names: str) -> None:
    """Give points to passes, create them if needed, and count the points."""
    await business.record(*({"type": "point_add", "points": points, "pass_external_id": name} for name in names))
    await business.run_worker()


async def request(business: Business, name: str = "ann", reward: str = "coffee", **sent: Any) -> str:
    """Record a redemption, and return its id. It is not decided yet."""
    asked = RedemptionInput(reward_key=reward, pass_external_id=name, **sent)
    redeemed = await redeem_reward(business.ctx, asked, wait_seconds=0)
    assert redeemed.redemption.id is not None
    return redeemed.redemption.id


async def read(business: Business, redeemed: str) -> Redemption:
    """Return a redemption as it is now."""
    found = await find_redemption(business.ctx, redeemed)
    assert found is not None
    return found


async def redeem(business: Business, name: str = "ann", reward: str = "coffee", **sent: Any) -> Redemption:
    """Redeem a reward, let the worker decide, and return the redemption."""
    redeemed = await request(business, name, reward, **sent)
    await business.run_worker()
    return await read(business, redeemed)


async def roll_back(business: Business, redeemed: str | None, reason: str | None = None) -> Redemption:
    """Roll a redemption back, let the worker count that, and return the redemption."""
    assert redeemed is not None
    await rollback_redemption(business.ctx, redeemed, reason, max_seconds=0)
    await business.run_worker()
    return await read(business, redeemed)


def codes(redemption: Redemption) -> list[str]:
    """Return the codes of the reasons why a redemption failed."""
    return [reason.code for reason in redemption.reasons]
