"""Single connection mode of graphql-sse: a client reserves a stream, opens it, and sends and stops operations."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from app.domain.actors import Actor
from app.graphql.protocol import sse_single_connection as single
from app.graphql.protocol.sse_single_connection import Channels
from tests.graphql.serving import Api
from tests.patience import PATIENCE_SECONDS

FOLLOW = "subscription { activity { __typename } }"
CREATE = 'mutation { createPass(input: {externalId: "a"}) { pass { externalId } } }'


async def reserve(api: Api) -> str:
    """Reserve a stream, and return its token."""
    response = await api.http.put(api.url, headers=api.headers)
    assert (response.status_code, response.headers["content-type"]) == (201, "text/plain; charset=utf-8")
    return response.text


@asynccontextmanager
async def open_stream(api: Api, token: str) -> AsyncIterator[AsyncIterator[tuple[str, dict[str, Any]]]]:
    """Open the stream and yield its events. Like EventSource in a browser, send no Authorization header."""
    headers = {"accept": "text/event-stream"}

    async def read_events(response: httpx.Response) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        name = ""
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))

    async with asyncio.timeout(PATIENCE_SECONDS):
        async with api.http.stream("GET", api.url, params={"token": token}, headers=headers) as response:
            assert response.status_code == 200
            yield read_events(response)


async def send(api: Api, token: str, query: str, operation_id: str | None) -> httpx.Response:
    extensions = {} if operation_id is None else {"operationId": operation_id}
    return await api.post(
        json.dumps({"query": query, "extensions": extensions}), **{"x-graphql-event-stream-token": token}
    )


async def test_operations_on_one_stream_are_separated_by_their_ids(api: Api) -> None:
    token = await reserve(api)
    async with open_stream(api, token) as events:
        assert (await send(api, token, CREATE, "m")).status_code == 202
        name, message = await anext(events)
        assert (name, message["id"]) == ("next", "m")
        assert message["payload"]["data"] == {"createPass": {"pass": {"externalId": "a"}}}
        assert await anext(events) == ("complete", {"id": "m"})

        assert (await send(api, token, FOLLOW, "s")).status_code == 202
        assert await anext(events) == (
            "next",
            {"id": "s", "payload": {"data": {"activity": {"__typename": "Heartbeat"}}}},
        )
        assert (await send(api, token, FOLLOW, "s")).status_code == 400, "an operation with this id is running"
        parameters = {"operationId": "s", "token": token}
        assert (await api.http.delete(api.url, params=parameters, headers=api.headers)).status_code == 200
        assert (await send(api, token, "{ __typename }", "s")).status_code == 202, "the id can be used again"
        while (event := await anext(events)) != ("complete", {"id": "s"}):
            assert event[1]["id"] == "s"


async def test_refused_request_gets_its_error_in_its_own_response_not_on_the_stream(api: Api) -> None:
    token = await reserve(api)
    assert (await send(api, token, "{ nope }", "1")).status_code == 400
    assert (await send(api, token, "{ __typename }", None)).status_code == 400
    assert (await send(api, "unknown", "{ __typename }", "1")).status_code == 404
    headers = {**api.headers, "x-graphql-event-stream-token": token}
    parameters = {"query": CREATE, "extensions": '{"operationId": "1"}'}
    assert (await api.http.get(api.url, params=parameters, headers=headers)).status_code == 405
    assert (await api.http.put(api.url)).status_code == 401
    parameters = {"operationId": "1"}
    assert (await api.http.delete(api.url, params=parameters, headers=api.headers)).status_code == 404


async def test_stream_is_opened_only_once_and_takes_operations_of_its_key_only(api: Api) -> None:
    token = await reserve(api)
    async with open_stream(api, token):
        second = await api.http.get(api.url, params={"token": token}, headers={"accept": "text/event-stream"})
        assert second.status_code == 409
        api.secret = await api.create_key("read")
        assert (await send(api, token, "{ __typename }", "1")).status_code == 404
    unknown = await api.http.get(api.url, params={"token": "x"}, headers={"accept": "text/event-stream"})
    assert unknown.status_code == 404


async def test_reservation_that_is_not_opened_expires_and_frees_its_quota(monkeypatch: Any) -> None:
    monkeypatch.setattr(single, "UNOPENED_TTL_SECONDS", 0.0)
    channels, actor = Channels(limit=1), Actor("ws_1", "key_1", "test", frozenset())
    token = channels.reserve(actor)
    assert channels.find(token, actor) is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        while channels.find(token) is not None:
            await asyncio.sleep(0)
    assert channels.find(channels.reserve(actor)) is not None, "the quota of one reservation is free again"
