"""Subscriptions as server-sent events."""

from __future__ import annotations

import asyncio
import json

import httpx

from app.domain.values.cursors import activity_cursor
from tests.graphql.serving import Api

STREAM = "subscription { activity { __typename ... on Heartbeat { cursor } } }"


async def events(response: httpx.Response, count: int) -> list[tuple[str, str]]:
    """The first events of a stream as (event, data)."""
    found: list[tuple[str, str]] = []
    name = ""
    async with asyncio.timeout(10):
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data:"):
                found.append((name, line.removeprefix("data:").strip()))
                if len(found) == count:
                    break
    return found


async def test_a_subscription_streams_and_ends_its_lines_with_lf(api: Api) -> None:
    headers = {**api.headers, "accept": "text/event-stream"}
    async with api.http.stream("POST", api.address, json={"query": STREAM}, headers=headers) as response:
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["x-accel-buffering"] == "no"
        first = await anext(response.aiter_raw())
        assert b"\r" not in first
    async with api.http.stream("GET", api.address, params={"query": STREAM}, headers=headers) as response:
        [(name, data), (_, later)] = await events(response, 2)
        assert name == "next"
        assert json.loads(data)["data"]["activity"]["__typename"] == "Heartbeat"
        assert json.loads(later)["data"] == json.loads(data)["data"]


async def test_a_query_is_one_event_and_complete(api: Api) -> None:
    response = await api.post(json.dumps({"query": "{ __typename }"}), accept="text/event-stream")
    assert 'event: next\ndata: {"data":{"__typename":"Query"},' in response.text
    assert response.text.endswith("\n\nevent: complete\ndata:\n\n")


async def test_a_refused_document_is_told_inside_the_stream(api: Api) -> None:
    for document in ("{ nope }", "subscription {"):
        response = await api.post(json.dumps({"query": document}), accept="text/event-stream")
        assert response.status_code == 200
        assert '"errors"' in response.text
        assert response.text.endswith("event: complete\ndata:\n\n")


async def test_a_subscription_needs_a_client_that_takes_a_stream(api: Api) -> None:
    response = await api.post(json.dumps({"query": STREAM}), accept="application/json")
    assert response.status_code == 406


async def test_a_mutation_by_get_is_not_streamed_either(api: Api) -> None:
    mutation = 'mutation { createPass(input: {externalId: "a"}) { pass { id } } }'
    headers = {**api.headers, "accept": "text/event-stream"}
    response = await api.http.get(api.address, params={"query": mutation}, headers=headers)
    assert response.status_code == 405


async def ids(response: httpx.Response, count: int) -> list[tuple[str, dict[str, object]]]:
    """The first events of a stream as (id, what the subscription told)."""
    found: list[tuple[str, dict[str, object]]] = []
    place = ""
    async with asyncio.timeout(10):
        async for line in response.aiter_lines():
            if line.startswith("id: "):
                place = line.removeprefix("id: ")
            elif line.startswith("data: "):
                found.append((place, json.loads(line.removeprefix("data: "))["data"]["activity"]))
                if len(found) == count:
                    break
    return found


async def test_a_client_that_comes_back_goes_on_behind_the_last_event_it_saw(api: Api) -> None:
    await api.business.record(*({"external_id": str(n)} for n in range(4)))
    await api.business.settle()
    # Without a cursor among the fields: the id of an event does not depend on what was selected.
    query = """subscription ($after: String) { activity(after: $after, first: 3) {
      __typename ... on ActivityEdge { node { sequence } } } }"""
    body = {"query": query, "variables": {"after": activity_cursor(0)}}
    headers = {**api.headers, "accept": "text/event-stream"}
    async with api.http.stream("POST", api.address, json=body, headers=headers) as response:
        told = await ids(response, 3)
    assert [place for place, _ in told] == [activity_cursor(pos) for pos in (0, 1, 2)]
    again = {**headers, "last-event-id": told[-1][0]}
    async with api.http.stream("POST", api.address, json=body, headers=again) as response:
        later = await ids(response, 3)
    assert [message.get("node") for _, message in told + later] == [
        None, {"sequence": 1}, {"sequence": 2}, None, {"sequence": 3}, {"sequence": 4},
    ]  # fmt: skip
    bad = {**headers, "last-event-id": "nonsense"}
    refused = await api.http.post(api.address, json=body, headers=bad)
    assert "BAD_USER_INPUT" in refused.text
