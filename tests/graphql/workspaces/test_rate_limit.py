"""The budget of an API key: the query `rateLimit`, and the error for a key without points."""

from __future__ import annotations

from datetime import datetime

from tests.business import Business
from tests.graphql.execution.test_limits import replace_settings
from tests.graphql.serving import Api, run_api

RATE = "{ rateLimit { limit remaining resetAt cost } passes(first: 9) { nodes { id } } }"


async def test_rateLimit_returns_the_remaining_points_and_the_cost_of_the_query(api: Api) -> None:
    answer = await api.execute(RATE)
    rate = answer["data"]["rateLimit"]
    assert (rate["limit"], rate["cost"]) == (1_000_000, 10)
    assert 0 < rate["remaining"] <= rate["limit"]
    assert datetime.fromisoformat(rate["resetAt"]).tzinfo is not None
    assert answer["extensions"]["cost"]["remaining"] == rate["remaining"]


async def test_key_without_points_is_throttled_with_the_time_until_a_retry(business: Business) -> None:
    async with run_api(replace_settings(business, budget_points=100, budget_per_second=1)) as api:
        assert (await api.execute("{ passes(first: 98) { nodes { id } } }"))["extensions"]["cost"]["remaining"] <= 2
        response = await api.post('{"query": "{ passes { nodes { id } } }"}')
        assert response.status_code == 429
        assert 1 <= int(response.headers["retry-after"]) <= 60
        extensions = response.json()["errors"][0]["extensions"]
        assert extensions["code"] == "THROTTLED"
        assert 0 < extensions["retryAfterSeconds"] <= 60
        async with api.open_socket() as socket:
            await socket.subscribe("{ passes { nodes { id } } }")
            message = await socket.receive()
            assert message["payload"][0]["extensions"]["code"] == "THROTTLED"
        api.secret = await api.create_key("read")
        assert "data" in await api.execute("{ passes { nodes { id } } }")
        assert (await api.fetch_error("{ passes(first: 200) { nodes { id } } }"))["extensions"]["limit"] == "cost"


async def test_rateLimit_is_null_if_keys_have_no_budget(business: Business) -> None:
    async with run_api(replace_settings(business, budget_points=0)) as api:
        answer = await api.execute(RATE)
        assert answer["data"]["rateLimit"] is None
        assert "remaining" not in answer["extensions"]["cost"]
