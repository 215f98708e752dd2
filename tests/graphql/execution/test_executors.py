"""The size of an answer: what is repeated in it counts each time, and so do names and errors."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.store.mongo import usage
from tests.business import Business
from tests.graphql.serving import Api, run_api

NESTED = "events(first: 20) { nodes { pass { events(first: 20) { nodes { %s } } } } }"
"""The same page of 20 events, 20 times."""


@pytest.fixture
async def api(business: Business, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    """Run the API with answers of at most 200,000 bytes, for a pass with 20 events of 2,000 bytes each."""
    monkeypatch.setattr(usage, "MAX_ANSWER_BYTES", 200_000)
    await business.record(*({"amount": n + 1, "metadata": {"text": "x" * 2_000}} for n in range(20)))
    async with run_api(business) as running:
        yield running


@pytest.mark.parametrize(
    "query",
    [
        "{ " + NESTED % "metadata" + " }",
        "{ " + NESTED % f"{'n' * 1_000}: currency" + " }",
        "query ($cursor: String) { " + NESTED % "pass { memberships(after: $cursor) { totalCount } }" + " }",
        "{ " + " ".join(f"a{n}: events(first: {n + 1}) {{ nodes {{ metadata }} }}" for n in range(20)) + " }",
        "{ ... @defer { " + NESTED % "metadata" + " } }",
    ],
    ids=["values", "names", "errors", "aliases", "defer"],
)
async def test_answer_beyond_its_limit_is_refused_whatever_makes_it_large(api: Api, query: str) -> None:
    answer = await api.execute(query, cursor="x" * 300)
    assert list(answer) == ["errors"]
    [error] = answer["errors"]
    assert error["extensions"] == {"code": "LIMIT_EXCEEDED", "limit": "answerBytes", "most": 200_000}
    assert "200,000 bytes" in error["message"]


async def test_answer_below_the_limit_is_complete_after_a_refusal(api: Api) -> None:
    await api.fetch_error("{ " + NESTED % "metadata" + " }")
    data = await api.fetch_data("{ " + NESTED % "amount" + " }")
    assert sum(len(node["pass"]["events"]["nodes"]) for node in data["events"]["nodes"]) == 400


async def test_large_message_of_a_stream_ends_the_stream_with_the_error(api: Api) -> None:
    await api.business.run_worker()
    node = "{ pass { " + NESTED % "metadata" + " } }"
    async with api.open_socket() as socket:
        await socket.subscribe("subscription { activity { __typename ... on ActivityEdge { node " + node + " } } }")
        assert (await socket.receive_data())["activity"]["__typename"] == "Heartbeat"
        await api.business.record({"amount": 1})
        await api.business.run_worker()
        message = await socket.receive()
        while message["payload"]["data"] and message["payload"]["data"]["activity"]["__typename"] == "Heartbeat":
            message = await socket.receive()
        assert message["payload"]["errors"][0]["extensions"]["limit"] == "answerBytes"
        assert (await socket.receive())["type"] == "complete"
