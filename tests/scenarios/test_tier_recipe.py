"""The recipe of docs/howto/run-a-tier-program.md: the program and the rule of the page do what the page says."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.business import Business
from tests.graphql.serving import Api, run_api

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "run-a-tier-program.md"
OPERATIONS = {
    match["name"]: match["text"]
    for match in re.finditer(r"^```graphql\n(?P<text>\w+ (?P<name>\w+).*?)^```", PAGE.read_text(), re.M | re.S)
}


async def run(api: Api, name: str) -> dict[str, Any]:
    """Run an operation of the page, then the worker. Time goes on by a second."""
    data: dict[str, Any] = await api.fetch_data(OPERATIONS[name])
    for payload in data.values():
        assert payload.get("userErrors", []) == []
    await go_on(api.business, timedelta(seconds=1))
    return data


async def go_on(business: Business, duration: timedelta) -> None:
    await business.run_worker()
    business.clock.set(await business.clock.now() + duration)
    await business.run_worker()


async def buy(business: Business, amount: int) -> None:
    await business.record({"amount": amount, "currency": "EUR"})
    await go_on(business, timedelta(seconds=1))


async def test_pass_reaches_silver_and_gold_and_falls_when_it_does_not_keep_them(business: Business) -> None:
    """Spend reaches a tier, and a rule reacts to it (WH1-18)."""
    business.clock.set(datetime(2026, 3, 1, 12, tzinfo=UTC))
    async with run_api(business) as api:
        await run(api, "SilverAndGold")
        await run(api, "Welcome")
        await run(api, "Gold")
        await buy(business, 600)
        status = (await run(api, "Status"))["pass"]["tierStatus"]
        assert (status["name"], status["until"]) == ("Silver", "2027-12-31T23:00:00.000Z")
        assert [each["needed"] for each in status["progress"]["remaining"]] == ["1400"]
        await buy(business, 1400)
        assert (await run(api, "Status"))["pass"]["tier"] == "gold"
        card = await business.read_pass()
        assert card.points == 200
        assert len(card.memberships) == 1
        business.clock.set(datetime(2027, 6, 1, 12, tzinfo=UTC))
        await buy(business, 1500)
        business.clock.set(datetime(2028, 2, 1, 12, tzinfo=UTC))
        status = (await run(api, "Status"))["pass"]["tierStatus"]
        await business.run_worker()
        status = (await run(api, "Status"))["pass"]["tierStatus"]
        assert (status["name"], status["until"]) == ("Gold", "2028-12-31T23:00:00.000Z")
        business.clock.set(datetime(2029, 2, 1, 12, tzinfo=UTC))
        await business.run_worker()
        assert (await run(api, "Status"))["pass"]["tier"] is None
        await run(api, "End")
        types = [each.type.rpartition(".")[2] for each in await business.read_log() if ".tier." in each.type]
        assert types == ["joined", "upgraded", "prolonged", "left"]
