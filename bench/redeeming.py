"""The part `redeem`: the time of redeemReward over HTTP, from the call to the outcome, on an idle machine."""

from __future__ import annotations

import asyncio
import random
import time

from app.commands.events.record import record_events
from app.commands.rewards.rewards import create_reward
from app.domain.events.events import EventInput

from .http import Client
from .stock import Stock
from .timing import Side

POINTS, COST = 1_000_000, 10
REDEEM = """mutation Redeem($input: RedeemRewardInput!) {
  redeemReward(input: $input) { redemption { id status balanceAfter reasons { code } } userErrors { code } }
}"""
REWARDS = {
    "a reward that costs points": {},
    "a reward with a stock, limits and codes": {
        "limits": {"total": 1_000_000, "perPass": {"count": 100, "calendar": "DAY"}},
        "code": {"pattern": "BENCH-########"},
    },
}


async def measure_redeeming(stock: Stock, client: Client, times: int) -> list[Side]:
    """Measure the seconds of redeemReward until it answers with the outcome.

    Calls are sent one at a time, at random intervals, so that they do not coincide with the interval of a timer.
    """
    chance, sides = random.Random(3), []
    names = [external_id for _, external_id in stock.passes[:50]]
    grants = [
        EventInput("point_add", pass_external_id=name, points=POINTS, external_id=f"grant {name}") for name in names
    ]
    await record_events(stock.ctx, grants)
    for number, (title, terms) in enumerate(REWARDS.items()):
        reward = {"key": f"reward-{number}", "name": title, "pointsCost": COST, **terms}
        await create_reward(stock.ctx, reward)
        side = Side(f"redeemReward: {title}")
        for run in range(times + 5):
            await asyncio.sleep(chance.uniform(0.05, 0.15))
            sent = {"passExternalId": names[run % len(names)], "rewardKey": reward["key"]}
            body = client.body(REDEEM, {"input": sent})
            started = time.perf_counter()
            answer = await client.send(body)
            seconds = time.perf_counter() - started
            assert answer["data"]["redeemReward"]["redemption"]["status"] == "SUCCEEDED", answer
            if run >= 5:
                side.seconds.append(seconds)
        sides.append(side)
    return sides
