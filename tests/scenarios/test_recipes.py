"""The recipes of docs/howto/reward-customers.md: each rule of the page does what the page says."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.domain.activities import CODE_ISSUED, REDEEMED, REWARDED
from app.graphql.types.ids import to_global_id
from tests.business import Business
from tests.graphql.serving import Api, run_api

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "reward-customers.md"
OPERATIONS = {
    match["name"]: match["text"]
    for match in re.finditer(r"^```graphql\n(?P<text>\w+ (?P<name>\w+).*?)^```", PAGE.read_text(), re.M | re.S)
}
WEDNESDAY = datetime(2026, 3, 4, 12, tzinfo=UTC)
SATURDAY = datetime(2026, 3, 7, 12, tzinfo=UTC)


async def run(api: Api, name: str, **variables: Any) -> dict[str, Any]:
    """Run an operation of the page without waiting for a worker, then run the worker. Time goes on by a second."""
    data = await api.fetch_data(OPERATIONS[name].replace("wait: FOLDED", "wait: NONE"), **variables)
    for payload in data.values():
        assert payload.get("userErrors", []) == []
    await go_on(api.business, timedelta(seconds=1))
    return data


async def go_on(business: Business, duration: timedelta) -> None:
    await business.run_worker()
    business.clock.set(await business.clock.now() + duration)


async def record(business: Business, *items: dict[str, object]) -> list[str]:
    results = (await business.record(*items)).results
    await go_on(business, timedelta(seconds=1))
    return [result.event.id for result in results if result.event is not None]


async def balance(business: Business) -> str:
    return str((await business.read_pass()).points)


@pytest.fixture
async def begun(business: Business) -> Business:
    """Move the clock to a Wednesday and create the pass."""
    business.clock.set(WEDNESDAY)
    await business.create_passes("ann")
    await go_on(business, timedelta(seconds=1))
    return business


async def test_points_per_euro_with_a_weekend_bonus_and_a_refund(begun: Business) -> None:
    """The answer shows the pass after the event, the event, and the points earned (A1-14)."""
    async with run_api(begun) as api:
        await run(api, "PointsPerEuro")
        await run(api, "WeekendBonus")
        bought = (await run(api, "Buy"))["recordPurchase"]["event"]["id"]
        assert await balance(begun) == "29"
        answer = (await run(api, "Buy"))["recordPurchase"]  # the repeat shows what the first call brought
        assert (answer["event"]["pointsEarned"], answer["folded"], answer["pass"]) == (
            "29",
            True,
            {"pointsBalance": "29"},
        )
        await run(api, "Refund", eventId=bought)
        assert await balance(begun) == "19"
        begun.clock.set(SATURDAY)
        await record(begun, {"amount": "10.50", "currency": "EUR"}, {"amount": "99", "currency": "USD"})
        assert await balance(begun) == "39"
        done = await run(api, "Done")
        assert done["rule"]["statistics"]["fired"] == 1
        assert done["rule"]["firings"]["nodes"][0]["effects"] == [
            {"status": "SUCCEEDED", "reason": None, "points": "29"}
        ]


async def test_every_tenth_coffee_is_free(begun: Business) -> None:
    async with run_api(begun) as api:
        await run(api, "TenthCoffee")
        coffee: dict[str, object] = {"amount": 3, "metadata": {"item": "coffee"}}
        tea: dict[str, object] = {"amount": 3, "metadata": {"item": "tea"}}
        ids: list[str] = []
        for _ in range(20):
            ids += await record(begun, coffee, tea)
        query = '{ events(filter: {types: ["free_coffee"]}) { totalCount nodes { source metadata } } }'
        events = (await api.fetch_data(query))["events"]
        assert events["totalCount"] == 2
        assert events["nodes"][0] == {"source": "rule:tenth-coffee", "metadata": {"for": "you", "on": "2026-03-04"}}


async def test_good_review_is_rewarded_once_a_day(begun: Business) -> None:
    """A rule gives points for an event with certain metadata (V1-15)."""
    async with run_api(begun) as api:
        await run(api, "ReviewReward")
        good: dict[str, object] = {"type": "new_review", "metadata": {"stars": 5}}
        await record(begun, {"type": "new_review", "metadata": {"stars": 3}}, good, good)
        assert await balance(begun) == "50"
        await go_on(begun, timedelta(days=1))
        await record(begun, good)
        assert await balance(begun) == "100"
        query = '{ pass(externalId: "ann") { pointsExpiring { points expiresAt } } }'
        expiring = (await api.fetch_data(query))["pass"]["pointsExpiring"]
        assert expiring == [{"points": "100", "expiresAt": "2028-01-01T00:00:00.000Z"}]
        worth = await run(api, "Worth")
        assert worth["rule"]["statistics"]["conversion"]["treated"]["passes"] == 1


async def test_changed_rule_holds_from_then_on_and_a_paused_one_does_not_fire(begun: Business) -> None:
    async with run_api(begun) as api:
        rule_id = (await run(api, "ReviewReward"))["createRule"]["rule"]["id"]
        good: dict[str, object] = {"type": "new_review", "metadata": {"stars": 5}}
        await record(begun, good, good)
        await run(api, "MorePoints", ruleId=rule_id)
        await record(begun, good, good)
        assert await balance(begun) == "100"
        await run(api, "Pause", ruleId=rule_id)
        await go_on(begun, timedelta(days=8))
        await record(begun, good)
        assert await balance(begun) == "100"


async def test_referral_rewards_both_customers_once(begun: Business) -> None:
    async with run_api(begun) as api:
        await run(api, "Join")
        ann, bob = [await begun.read_pass(name) for name in ("ann", "bob")]
        await run(api, "ReferralReward")
        await run(api, "WelcomePoints")
        for _ in range(2):
            ids = {name: to_global_id("Pass", card.id) for name, card in (("passId", bob), ("friendId", ann))}
            answer = await run(api, "Refer", **ids)
            assert answer["recordReferral"]["event"]["type"] == "pass_referred"
    assert [(await begun.read_pass(name)).points for name in ("ann", "bob")] == [200, 50]


async def test_list_has_who_is_put_on_it_by_hand_or_by_a_rule(begun: Business) -> None:
    """A list has the passes that were put on it, and rules change it (A1-15)."""
    await begun.create_passes("bob", "cem")
    async with run_api(begun) as api:
        segment_id = (await run(api, "ListOfTesters"))["createSegment"]["segment"]["id"]
        put = await run(api, "PutOnTheList", segmentId=segment_id)
        assert put["addToSegment"]["results"] == [{"userErrors": []}]
        await run(api, "ReviewersAreTesters", segmentId=segment_id)
        await record(begun, {"type": "new_review", "pass_external_id": "bob"})
        listed = await api.fetch_data('{ segment(key: "testers") { members { nodes { pass { externalId } } } } }')
        members = {member["pass"]["externalId"] for member in listed["segment"]["members"]["nodes"]}
        assert members == {"ann", "bob"}


async def test_installed_pass_becomes_active(begun: Business) -> None:
    """Installations change the status of a pass (WH1-03)."""
    async with run_api(begun) as api:
        pass_id = (await api.fetch_data('{ pass(externalId: "ann") { id } }'))["pass"]["id"]
        deactivate = "mutation ($id: ID!) { updatePass(input: { id: $id, status: INACTIVE }) { userErrors { code } } }"
        await api.fetch_data(deactivate, id=pass_id)
        await go_on(begun, timedelta(seconds=1))
        await run(api, "Installed")
        shown = await api.fetch_data('{ pass(externalId: "ann") { status installedAt } }')
        assert shown["pass"] == {"status": "ACTIVE", "installedAt": "2026-03-04T12:00:02.000Z"}


async def test_a_review_gives_a_piece_of_cake(begun: Business) -> None:
    async with run_api(begun) as api:
        await run(api, "OfferCake")
        await run(api, "CakeForReview")
        await record(begun, {"type": "new_review"}, {"type": "new_review"})
        query = '{ pass(externalId: "ann") { redemptions(first: 5) { nodes { rewardKey status pointsSpent code } } } }'
        [redemption] = (await api.fetch_data(query))["pass"]["redemptions"]["nodes"]
    assert redemption.pop("code").startswith("CAKE-")
    assert redemption == {"rewardKey": "cake", "status": "SUCCEEDED", "pointsSpent": "0"}
    types = [each.type for each in await begun.read_log()]
    assert [types.count(each) for each in (REDEEMED, REWARDED, CODE_ISSUED)] == [1, 1, 1]
