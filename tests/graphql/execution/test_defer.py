"""@defer: parts of a query that come later, for clients that read parts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.graphql.serving import Api

QUERY = """query ($defer: Boolean! = true) {
  passes(first: 1) { nodes { externalId } ... @defer(if: $defer, label: "count") { totalCount } } }"""
WHOLE = {"passes": {"nodes": [{"externalId": "a"}], "totalCount": 1}}


def parts(text: str) -> list[dict[str, Any]]:
    preamble, *found, ending = text.split("\r\n--graphql")
    assert (preamble, ending) == ("", "--\r\n")
    return [json.loads(part.split("\r\n\r\n")[1]) for part in found]


async def asked(api: Api, accept: str, query: str = QUERY, **variables: Any) -> Any:
    return await api.post(json.dumps({"query": query, "variables": variables}), accept=accept)


@pytest.mark.parametrize(
    "accept", ["application/json, multipart/mixed", "multipart/mixed;incrementalSpec=v0.2,application/json"]
)
async def test_what_is_deferred_comes_in_a_part_of_its_own(api: Api, accept: str) -> None:
    await api.business.join("a")
    response = await asked(api, accept)
    assert response.headers["content-type"] == "multipart/mixed;boundary=graphql;incrementalSpec=v0.2"
    first, *later = parts(response.text)
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
async def test_whoever_cannot_read_it_in_parts_gets_the_whole(api: Api, accept: str) -> None:
    await api.business.join("a")
    response = await asked(api, accept)
    assert response.headers["content-type"].startswith("application/json")
    assert response.json()["data"] == WHOLE


async def test_sockets_and_event_streams_get_the_whole(api: Api) -> None:
    await api.business.join("a")
    async with api.socket() as socket:
        await socket.subscribe(QUERY)
        assert await socket.next() == WHOLE
    assert '"totalCount":1' in (await asked(api, "text/event-stream")).text


async def test_nothing_is_deferred_where_the_query_says_so(api: Api) -> None:
    await api.business.join("a")
    [only] = parts((await asked(api, "application/json, multipart/mixed", defer=False)).text)
    assert (only["data"], only["hasNext"]) == (WHOLE, False)


async def test_errors_of_a_deferred_part_are_coded_like_any(api: Api) -> None:
    query = "{ viewer { __typename } ... @defer { passes(first: 0) { totalCount } } }"
    body = parts((await asked(api, "application/json, multipart/mixed", query)).text)
    errors = [error for part in body for each in part.get("completed", []) for error in each.get("errors", [])]
    assert [error["extensions"]["code"] for error in errors] == ["BAD_USER_INPUT"]
