"""Subscriptions as server-sent events."""

from __future__ import annotations

import asyncio
import json

import httpx

from app.domain.values.cursors import activity_cursor
from tests.graphql.serving import Api
from tests.patience import PATIENCE_SECONDS

STREAM = "subscription { activity { __typename ... on Heartbeat { cursor } } }"


async def read_events(response: httpx.Response, count: int) -> list[tuple[str, str]]:
    """Return the first `count` events of a stream as (event, data)."""
    found: list[tuple[str, str]] = []
    name = ""
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data:"):
                found.append((name, line.removeprefix("data:").strip()))
                if len(found) == count:
                    break
    return found


async def test_subscription_is_streamed_in_lines_that_end_with_lf(api: Api) -> None:
    headers = {**api.headers, "accept": "text/event-stream"}
    async with api.http.stream("POST", api.url, json={"query": STREAM}, headers=headers) as response:
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["x-accel-buffering"] == "no"
        first = await anext(response.aiter_raw())
        assert b"\r" not in first
    async with api.http.stream("GET", api.url, params={"query": STREAM}, headers=headers) as response:
        [(name, data), (_, later)] = await read_events(response, 2)
        assert name == "next"
        assert json.loads(data)["data"]["activity"]["__typename"] == "Heartbeat"
        assert json.loads(later)["data"] == json.loads(data)["data"]


async def test_query_is_answered_with_one_event_and_complete(api: Api) -> None:
    response = await api.post(json.dumps({"query": "{ __typename }"}), accept="text/event-stream")
    assert 'event: next\ndata: {"data":{"__typename":"Query"},' in response.text
    assert response.text.endswith("\n\nevent: complete\ndata:\n\n")


async def test_refused_document_gets_its_error_inside_the_stream(api: Api) -> None:
    for document in ("{ nope }", "subscription {"):
        response = await api.post(json.dumps({"query": document}), accept="text/event-stream")
        assert response.status_code == 200
        assert '"errors"' in response.text
        assert response.text.endswith("event: complete\ndata:\n\n")


async def test_subscription_of_a_client_that_accepts_only_json_gets_406(api: Api) -> None:
    response = await api.post(json.dumps({"query": STREAM}), accept="application/json")
    assert response.status_code == 406


async def test_mutation_by_get_is_refused_for_event_streams_too(api: Api) -> None:
    mutation = 'mutation { createPass(input: {externalId: "a"}) { pass { id } } }'
    headers = {**api.headers, "accept": "text/event-stream"}
    response = await api.http.get(api.url, params={"query": mutation}, headers=headers)
    assert response.status_code == 405


async def read_messages(response: httpx.Response, count: int) -> list[tuple[str, dict[str, object]]]:
    """Return the first `count` events of a stream as (id, message of the subscription)."""
    found: list[tuple[str, dict[str, object]]] = []
    event_id = ""
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for line in response.aiter_lines():
            if line.startswith("id: "):
                event_id = line.removeprefix("id: ")
            elif line.startswith("data: "):
                found.append((event_id, json.loads(line.removeprefix("data: "))["data"]["activity"]))
                if len(found) == count:
                    break
    return found


async def test_client_that_reconnects_with_its_last_event_id_gets_the_next_events(api: Api) -> None:
    await api.business.record(*({"external_id": str(n)} for n in range(4)))
    await api.business.run_worker()
    # The query selects no cursor: the id of an event does not depend on the selected fields.
    query = """subscription ($after: String) { activity(after: $after, first: 3) {
      __typename ... on ActivityEdge { node { sequence } } } }"""
    body = {"query": query, "variables": {"after": activity_cursor(0)}}
    headers = {**api.headers, "accept": "text/event-stream"}
    async with api.http.stream("POST", api.url, json=body, headers=headers) as response:
        first = await read_messages(response, 3)
    assert [event_id for event_id, _ in first] == [activity_cursor(pos) for pos in (0, 1, 2)]
    reconnect = {**headers, "last-event-id": first[-1][0]}
    async with api.http.stream("POST", api.url, json=body, headers=reconnect) as response:
        later = await read_messages(response, 3)
    assert [message.get("node") for _, message in first + later] == [
        None, {"sequence": 1}, {"sequence": 2}, None, {"sequence": 3}, {"sequence": 4},
    ]  # fmt: skip
    invalid = {**headers, "last-event-id": "nonsense"}
    refused = await api.http.post(api.url, json=body, headers=invalid)
    assert "BAD_USER_INPUT" in refused.text
