"""The query topPasses: pages of the customers with the greatest values (WH1-14)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from unittest.mock import AsyncMock, patch

import pytest

from app.commands.insights.top_passes import PassOrder
from app.domain.values.cursors import encode_cursor
from app.store.kept_orders import KeptOrders
from tests.graphql.aggregations.test_aggregations import RECORD, sale
from tests.graphql.serving import Api

TOP = """query Top($input: TopPassesInput!) { topPasses(input: $input) {
  from to timezone currency freshness { exact }
  passes { nodes { rank value pass { externalId } } pageInfo { hasNextPage endCursor } } } }"""


@pytest.fixture
async def shop(api: Api) -> Api:
    events = [
        sale("ann", "10", "2025-12-03"),
        sale("ann", "30.20", "2025-12-04"),
        sale("ann", "5.20", "2025-12-30", "refund"),
        sale("bob", "70.50", "2025-12-30", "checkout"),
        sale("cas", "20", "2025-12-31"),
        sale("cas", "1000", "2025-12-31", currency="JPY"),
        sale("dan", "3", "2025-12-31", "refund"),
        {"passExternalId": "cas", "type": "visit", "points": 7, "occurredAt": "2025-12-31T23:30:00Z"},
        {"passExternalId": "cas", "type": "visit", "points": 2, "occurredAt": "2025-12-31T23:50:00Z"},
        {"passExternalId": "ann", "type": "visit", "points": 4, "occurredAt": "2025-11-30T23:50:00Z"},
    ]
    await api.fetch_data(RECORD, input={"events": events, "createMissingPasses": True})
    return api


async def ask(api: Api, **fields: Any) -> Any:
    return (await api.fetch_data(TOP, input={"month": "2025-12", **fields}))["topPasses"]


async def values(api: Api, **fields: Any) -> list[tuple[str, str]]:
    nodes = (await ask(api, **fields))["passes"]["nodes"]
    assert [node["rank"] for node in nodes] == list(range(1, len(nodes) + 1))
    return [(node["pass"]["externalId"], node["value"]) for node in nodes]


async def test_customers_are_compared_by_spend_events_or_points(shop: Api) -> None:
    answer = await ask(shop, by="SPEND", currency="USD")
    assert (answer["from"], answer["to"]) == ("2025-12-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z")
    assert (answer["timezone"], answer["currency"], answer["freshness"]) == ("UTC", "USD", {"exact": True})
    assert await values(shop, by="SPEND") == [("bob", "70.50"), ("ann", "35.00"), ("cas", "20")]
    assert await values(shop, by="SPEND", currency="JPY") == [("cas", "1000")]
    assert (await values(shop, by="COUNT"))[:2] == [("cas", "4"), ("ann", "3")]
    assert await values(shop, by="POINTS") == [("cas", "9")]
    assert await values(shop, by="POINTS", timezone="Europe/Berlin") == [("ann", "4")]
    assert await values(shop, by="SPEND", types=["purchase"]) == [("ann", "40.20"), ("cas", "20")]
    assert await values(shop, by="COUNT", types=["visit"]) == [("cas", "2")]


async def test_input_that_has_no_answer_is_refused_with_advice(shop: Api) -> None:
    for fields, advice in (
        ({"by": "COUNT", "currency": "EUR"}, "Leave out `currency`"),
        ({"by": "SPEND", "currency": "EURO"}, "ISO 4217"),
        ({"by": "POINTS", "types": ["visit"]}, "Leave out `types`"),
        ({"by": "SPEND", "after": "x"}, "cursor"),
        ({"by": "SPEND", "after": encode_cursor("top", 1, "pass_1", "one")}, "cursor"),
    ):
        error = await shop.fetch_error(TOP, input={"month": "2025-12", **fields})
        assert advice in str(error), error


async def test_cursor_of_another_question_is_refused_with_its_path(shop: Api) -> None:
    page = (await shop.fetch_data(TOP, input={"by": "COUNT", "month": "2025-12", "first": 1}))["topPasses"]["passes"]
    after = page["pageInfo"]["endCursor"]
    for fields in ({"by": "COUNT", "month": "2025-11"}, {"by": "SPEND", "month": "2025-12"}):
        error = await shop.fetch_error(TOP, input={**fields, "after": after})
        [problem] = error["extensions"]["problems"]
        assert (problem["code"], problem["field"]) == ("INVALID", ["input", "after"])


@pytest.mark.parametrize("period", [{"month": "2025-10"}, {"period": {"rolling": {"days": 300}}}])
async def test_paging_through_many_customers_costs_one_order(api: Api, period: dict[str, object]) -> None:
    events = [sale(f"n{n}", str(n + 1), "2025-10-03") for n in range(60)]
    await api.fetch_data(RECORD, input={"events": events, "createMissingPasses": True})
    clock = api.business.clock
    begun = 0
    begin = PassOrder.begin

    async def count_begun(*args: Any) -> PassOrder:
        nonlocal begun
        begun += 1
        return await begin(*args)

    found: list[tuple[int, str]] = []
    after: str | None = None
    with patch.object(PassOrder, "begin", count_begun):
        while True:
            clock.set(await clock.now() + timedelta(seconds=1))
            asked = {"by": "SPEND", "first": 10, "after": after, **period}
            page = (await api.fetch_data(TOP, input=asked))["topPasses"]["passes"]
            found += [(node["rank"], node["value"]) for node in page["nodes"]]
            after = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"]:
                break
    assert found == [(rank, str(61 - rank)) for rank in range(1, 61)]
    assert begun == 1


async def test_requests_for_one_page_at_once_compute_the_order_once(api: Api) -> None:
    events = [sale(f"n{n}", str(n + 1), "2025-10-03") for n in range(30)]
    await api.fetch_data(RECORD, input={"events": events, "createMissingPasses": True})
    first = (await ask(api, month="2025-10", by="SPEND", first=10))["passes"]
    api.business.ctx.resources.cache.rankings = KeptOrders()
    begin = AsyncMock(side_effect=PassOrder.begin)
    with patch.object(PassOrder, "begin", begin):
        asked = {"month": "2025-10", "by": "SPEND", "first": 10, "after": first["pageInfo"]["endCursor"]}
        pages = await asyncio.gather(*(ask(api, **asked) for _ in range(4)))
    assert begin.await_count == 1
    for page in pages:
        assert [node["rank"] for node in page["passes"]["nodes"]] == list(range(11, 21))
