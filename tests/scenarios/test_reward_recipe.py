"""The recipes of docs/howto/redeem-rewards.md: the rewards of the page do what the page says."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.business import Business
from tests.graphql.serving import Api, run_api

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "redeem-rewards.md"
OPERATIONS = {
    match["name"]: match["text"]
    for match in re.finditer(r"^```graphql\n(?P<text>\w+ (?P<name>\w+).*?)^```", PAGE.read_text(), re.M | re.S)
}


async def run(api: Api, name: str, receipt: str = "R-1", customer: str = "ann", **variables: Any) -> Any:
    """Run an operation of the page, let the worker decide, and return the answer; of a redemption, that of the repeat.

    `receipt` and `customer` stand for those on the page.
    """
    text = OPERATIONS[name].replace("R-1", receipt).replace("ann", customer)
    data: dict[str, Any] = await api.fetch_data(text.replace('source: "', 'waitSeconds: 0, source: "'), **variables)
    await go_on(api.business)
    if "source" in text:
        data = await api.fetch_data(text, **variables)
    for payload in data.values():
        assert payload.get("userErrors", []) == []
    return next(iter(data.values()))


async def go_on(business: Business, duration: timedelta = timedelta(seconds=1)) -> None:
    await business.run_worker()
    business.clock.set(await business.clock.now() + duration)


async def test_free_coffee_for_100_points(business: Business) -> None:
    """Redeem at a till, ask before, say why not, and roll back."""
    business.clock.set(datetime(2026, 3, 1, 12, tzinfo=UTC))
    await business.record({"type": "point_add", "points": 250})
    await go_on(business)
    async with run_api(business) as api:
        await run(api, "FreeCoffee")
        [coffee] = (await run(api, "WhatCanAnnRedeem"))["rewards"]
        assert (coffee["available"], coffee["reasons"], coffee["reward"]["pointsCost"]) == (True, [], "100")
        assert (await run(api, "WouldItWork"))["redemption"] == {
            "status": "SUCCEEDED", "reasons": [], "pointsSpent": "100", "balanceAfter": "150",
        }  # fmt: skip
        done = (await run(api, "RedeemCoffee", receipt="R-1"))["redemption"]
        assert (done["status"], done["pointsSpent"], done["balanceAfter"]) == ("SUCCEEDED", "100", "150")
        failed = (await run(api, "RedeemCoffee", receipt="R-2"))["redemption"]
        message = "The card may redeem this reward 1 times in a day; it has 1 times."
        assert (failed["status"], failed["reasons"]) == ("FAILED", [{"code": "LIMIT_PER_PASS", "message": message}])
        [coffee] = (await run(api, "WhatCanAnnRedeem"))["rewards"]
        assert (coffee["available"], coffee["reasons"][0]["code"]) == (False, "LIMIT_PER_PASS")
        await run(api, "GiveBack", redemptionId=done["id"])
        assert (await run(api, "GiveBack", redemptionId=done["id"]))["redemption"]["status"] == "ROLLED_BACK"
        assert (await run(api, "RedeemCoffee", receipt="R-3"))["redemption"]["status"] == "SUCCEEDED"
        assert (await business.read_pass()).points == 150


async def test_limited_give_away(business: Business) -> None:
    """V1-13: a reward for members of a segment; three units for five customers."""
    names = [f"customer-{number}" for number in range(5)]
    await business.record(*({"type": "new_review", "pass_external_id": name} for name in [*names, "ann"]))
    await business.create_passes("bob")
    await go_on(business)
    async with run_api(business) as api:
        segment = (await run(api, "Reviewers"))["segment"]["id"]
        await go_on(business)
        assert (await run(api, "GiveAway", segmentId=segment))["reward"]["unitsLeft"] == 3
        stranger = (await run(api, "TakeABag", customer="bob"))["redemption"]
        assert [reason["code"] for reason in stranger["reasons"]] == ["NOT_IN_SEGMENT"]
        found = [(await run(api, "TakeABag", customer=name))["redemption"] for name in ["ann", *names]]
        assert [each["status"] for each in found].count("SUCCEEDED") == 3
        assert {reason["code"] for each in found for reason in each["reasons"]} == {"SOLD_OUT"}
        [bag] = (await run(api, "BagsOfAnn"))["redemptions"]["nodes"]
        assert (bag["status"], bag["code"]) == ("SUCCEEDED", found[0]["code"])
        assert bag["code"].startswith("BAG-")
