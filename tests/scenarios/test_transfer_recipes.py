"""The recipes of docs/howto/transfer-points-and-gift-cards.md: each operation of the page does what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from app.commands.passes.removals import erase_pass
from app.graphql.types.ids import to_global_id
from tests.business import Business
from tests.graphql.serving import Api, run_api

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "transfer-points-and-gift-cards.md"
OPERATIONS = {
    match["name"]: match["text"]
    for match in re.finditer(r"^```graphql\n(?P<text>\w+ (?P<name>\w+).*?)^```", PAGE.read_text(), re.M | re.S)
}


async def run(api: Api, name: str, **variables: Any) -> Any:
    """Run an operation of the page twice, with the worker in between, and return the second answer."""
    text = OPERATIONS[name].replace("wait: FOLDED", "wait: NONE")
    for _ in range(2):
        [payload] = (await api.fetch_data(text, **variables)).values()
        assert payload["userErrors"] == []
        await api.business.run_worker()
    return payload


async def give_points(business: Business) -> dict[str, str]:
    """Give ann 100 points, and return the ids of ann and bob for the operation of the page."""
    await business.record({"type": "point_add", "points": 100}, {"pass_external_id": "bob", "type": "visit"})
    await business.run_worker()
    ids = await business.ctx.workspace.passes.ids_of(["ann", "bob"])
    return {"senderId": to_global_id("Pass", ids["ann"]), "receiverId": to_global_id("Pass", ids["bob"])}


async def test_points_reach_the_other_customer_once(business: Business) -> None:
    names = await give_points(business)
    async with run_api(business) as api:
        transfer = (await run(api, "SendPoints", **names))["transfer"]
    assert transfer == {
        "status": "SUCCEEDED", "points": "40", "reasons": [], "returned": False, "receivedEvent": {"points": "40"},
    }  # fmt: skip
    assert [(await business.read_pass(name)).points for name in ("ann", "bob")] == [60, 40]


async def test_transfer_without_enough_points_says_why(business: Business) -> None:
    names = await give_points(business)
    await business.record({"type": "point_sub", "points": -70})
    await business.run_worker()
    async with run_api(business) as api:
        transfer = (await run(api, "SendPoints", **names))["transfer"]
    assert (transfer["status"], transfer["receivedEvent"]) == ("FAILED", None)
    assert [each["code"] for each in transfer["reasons"]] == ["INSUFFICIENT_POINTS"]


async def test_returned_points_are_shown(business: Business) -> None:
    names = await give_points(business)
    async with run_api(business) as api:
        sent = (await api.fetch_data(OPERATIONS["SendPoints"], **names))["transferPoints"]["transfer"]
        assert sent["status"] == "PENDING"
        await erase_pass(business.ctx, external_id="bob")
        await business.run_worker()
        assert (await business.read_pass("ann")).points == 100
        query = '{ events(filter: { types: ["points_transferred"] }) { nodes { outcome { status returned } } } }'
        [event] = (await api.fetch_data(query))["events"]["nodes"]
        assert event["outcome"] == {"status": "COUNTED", "returned": True}


async def test_gift_card_is_sold_and_pays(business: Business) -> None:
    async with run_api(business) as api:
        created = (await run(api, "CreateGiftCard"))["pass"]
        assert (created["kind"], created["currency"], created["giftBalance"]) == ("GIFT_CARD", "EUR", "0")
        await run(api, "AddMoney")
        paid = await run(api, "PayWithGiftCard")
        assert paid["event"]["outcome"] == {"status": "COUNTED", "reasons": []}
        assert paid["pass"]["giftBalance"] == "30.10"
        declined = OPERATIONS["PayWithGiftCard"].replace("19.90", "30.11").replace("receipt-9002", "receipt-9003")
        await api.fetch_data(declined.replace("wait: FOLDED", "wait: NONE"))
        await business.run_worker()
        repeated = (await api.fetch_data(declined.replace("wait: FOLDED", "wait: NONE")))["recordEvent"]
    assert repeated["event"]["outcome"]["reasons"][0]["code"] == "INSUFFICIENT_BALANCE"
    assert repeated["pass"]["giftBalance"] == "30.10"
