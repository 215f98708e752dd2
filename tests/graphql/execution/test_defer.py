"""The directive @defer: parts of a query that the API sends later to clients that accept multipart responses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.graphql.serving import Api

QUERY = """query ($defer: Boolean! = true) {
  passes(first: 1) { nodes { externalId } ... @defer(if: $defer, label: "count") { totalCount } } }"""
WHOLE = {"passes": {"nodes": [{"externalId": "a"}], "totalCount": 1}}


def parse_parts(text: str) -> list[dict[str, Any]]:
    preamble, *parts, ending = text.split("\r\n--graphql")
    assert (preamble, ending) == ("", "--\r\n")
    return [json.loads(part.split("\r\n\r\n")[1]) for part in parts]


async def post_query(api: Api, accept: str, query: str = QUERY, **variables: Any) -> Any:
    return await api.post(json.dumps({"query": query, "variables": variables}), accept=accept)


@pytest.mark.parametrize(
    "accept", ["application/json, multipart/mixed", "multipart/mixed;incrementalSpec=v0.2,application/json"]
)
async def test_deferred_field_is_sent_in_a_part_of_its_own(api: Api, accept: str) -> None:
    await api.business.create_passes("a")
    response = await post_query(api, accept)
    assert response.headers["content-type"] == "multipart/mixed;boundary=graphql;incrementalSpec=v0.2"
    first, *later = parse_parts(response.text)
    assert first["data"] == {"passes": {"nodes": [{"externalId": "a"}]}}
    [pending] = first["pending"]
    assert (pending["path"], pending["label"], first["hasNext"]) == (["passes"], "count", True)
    assert [each for body in later for each in body.get("incremental", [])] == [
        {"data": {"totalCount": 1}, "id": pending["id"]}
    ]
    assert [each["id"] for body in later for each in body.get("completed", [])] == [pending["id"]]
    assert [body["hasNext"] for body in later][-1] is False


@pytest.mark.parametrize(
    "accept",
    [
        "application/json",
        "application/json, multipart/mixed;deferSpec=20220824",
        "application/json, multipart/mixed;subscriptionSpec=1.0",
    ],
)
async def test_client_that_accepts_no_incremental_parts_gets_the_whole_response(api: Api, accept: str) -> None:
    await api.business.create_passes("a")
    response = await post_query(api, accept)
    assert response.headers["content-type"].startswith("application/json")
    assert response.json()["data"] == WHOLE


async def test_sockets_and_event_streams_get_the_whole_response(api: Api) -> None:
    await api.business.create_passes("a")
    async with api.open_socket() as socket:
        await socket.subscribe(QUERY)
        assert await socket.receive_data() == WHOLE
    assert '"totalCount":1' in (await post_query(api, "text/event-stream")).text


async def test_defer_with_if_false_defers_nothing(api: Api) -> None:
    await api.business.create_passes("a")
    [only] = parse_parts((await post_query(api, "application/json, multipart/mixed", defer=False)).text)
    assert (only["data"], only["hasNext"]) == (WHOLE, False)


async def test_error_in_a_deferred_part_has_a_code(api: Api) -> None:
    query = "{ viewer { __typename } ... @defer { passes(first: 251) { totalCount } } }"
    body = parse_parts((await post_query(api, "application/json, multipart/mixed", query)).text)
    errors = [error for part in body for each in part.get("completed", []) for error in each.get("errors", [])]
    assert [error["extensions"]["code"] for error in errors] == ["BAD_USER_INPUT"]
