"""The operations of docs/howto/give-a-browser-a-key.md, as a page of another origin sends them with a token."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

from tests.business import Business
from tests.commands.rewards.shop import create, give_points
from tests.graphql.serving import run_api

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "give-a-browser-a-key.md"
OPERATIONS = {
    match["name"]: match["text"]
    for match in re.finditer(r"^```graphql\n(?P<text>\w+ (?P<name>\w+).*?)^```", PAGE.read_text(), re.M | re.S)
}
ORIGIN = "https://shop.example"


async def test_page_of_another_origin_shows_records_and_redeems_with_a_token(business: Business) -> None:
    settings = replace(business.ctx.resources.settings, cors_origins=(ORIGIN,))
    business.ctx = replace(business.ctx, resources=replace(business.ctx.resources, settings=settings))
    await create(business)
    async with run_api(business) as api:
        card = (await api.fetch_data(OPERATIONS["NewCustomer"]))["createPass"]["pass"]
        await api.fetch_data(OPERATIONS["ShowRegulars"])
        await give_points(business, 150, "ann")
        await business.record(*({"type": "purchase"} for _ in range(5)))
        await business.run_worker()
        admin, made = api.secret, (await api.fetch_data(OPERATIONS["MakeToken"]))["createPassToken"]
        api.secret = made["token"]
        asked = {
            "origin": ORIGIN,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        }
        preflight = await api.http.options(api.url, headers=asked)
        assert preflight.headers["access-control-allow-origin"] == ORIGIN
        assert "authorization" in preflight.headers["access-control-allow-headers"]
        response = await api.post(json.dumps({"query": OPERATIONS["MyCard"]}), origin=ORIGIN)
        assert response.headers["access-control-allow-origin"] == ORIGIN
        mine = response.json()["data"]["pass"]
        assert (mine["holder"], mine["pointsBalance"]) == ({"name": "Ann"}, "150")
        assert [each["segment"] for each in mine["memberships"]["nodes"]] == [{"key": "regulars", "name": "Regulars"}]
        assert [each["available"] for each in mine["rewards"]] == [True]
        assert mine["activity"]["nodes"][-1]["type"] == "customer.segment.entered"
        for _ in range(2):
            solved = (await api.fetch_data(OPERATIONS["QuizSolved"]))["recordEvent"]
        assert solved == {"status": "DUPLICATE", "userErrors": []}
        waiting = OPERATIONS["TakeCoffee"].replace('"tap-1"', '"tap-1", waitSeconds: 0')
        await api.fetch_data(waiting)
        await business.run_worker()
        taken = (await api.fetch_data(OPERATIONS["TakeCoffee"]))["redeemReward"]
        assert (taken["userErrors"], taken["redemption"]["status"]) == ([], "SUCCEEDED")
        async with api.open_raw_socket(additional_headers={"origin": ORIGIN}) as socket:
            await socket.send(type="connection_init", payload={"authorization": f"Bearer {made['token']}"})
            assert await socket.receive() == {"type": "connection_ack"}
            await socket.subscribe(OPERATIONS["MyFeed"])
            assert (await socket.receive_data())["activity"].keys() == {"cursor"}
        api.secret = admin
        ended = (await api.fetch_data(OPERATIONS["LogOut"], passId=card["id"]))["revokePassTokens"]
        assert ended["userErrors"] == []
        assert (await api.fetch_data(OPERATIONS["NewKey"]))["rotatePassTokenKey"]["userErrors"] == []
