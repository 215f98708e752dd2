"""The budget at the edge: what is left, and what happens when nothing is."""

from __future__ import annotations

from datetime import datetime

from tests.business import Business
from tests.graphql.execution.test_limits import within
from tests.graphql.serving import Api, serving

RATE = "{ rateLimit { limit remaining resetAt cost } passes(first: 9) { nodes { id } } }"


async def test_what_is_left_is_told(api: Api) -> None:
    answer = await api.answer(RATE)
    rate = answer["data"]["rateLimit"]
    assert (rate["limit"], rate["cost"]) == (10_000_000, 10)
    assert 0 < rate["remaining"] <= rate["limit"]
    assert datetime.fromisoformat(rate["resetAt"]).tzinfo is not None
    assert answer["extensions"]["cost"]["remaining"] == rate["remaining"]


async def test_who_has_spent_everything_is_told_when_to_come_back(business: Business) -> None:
    async with serving(within(business, budget_points=100, budget_per_second=1)) as api:
        assert (await api.answer("{ passes(first: 98) { nodes { id } } }"))["extensions"]["cost"]["remaining"] <= 2
        response = await api.post('{"query": "{ passes { nodes { id } } }"}')
        assert response.status_code == 429
        assert 1 <= int(response.headers["retry-after"]) <= 60
        told = response.json()["errors"][0]["extensions"]
        assert told["code"] == "THROTTLED"
        assert 0 < told["retryAfterSeconds"] <= 60
        assert (await api.refusal("{ passes(first: 200) { nodes { id } } }"))["extensions"]["limit"] == "cost"
        async with api.socket() as socket:
            await socket.subscribe("{ passes { nodes { id } } }")
            message = await socket.receive()
            assert message["payload"][0]["extensions"]["code"] == "THROTTLED"
        api.secret = await api.key("read")
        assert "data" in await api.answer("{ passes { nodes { id } } }")


async def test_keys_need_not_have_a_budget(business: Business) -> None:
    async with serving(within(business, budget_points=0)) as api:
        answer = await api.answer(RATE)
        assert answer["data"]["rateLimit"] is None
        assert "remaining" not in answer["extensions"]["cost"]
