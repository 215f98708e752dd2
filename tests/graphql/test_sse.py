"""Subscriptions as server-sent events."""

from __future__ import annotations

import asyncio
import json

import httpx

from .serving import Api

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
