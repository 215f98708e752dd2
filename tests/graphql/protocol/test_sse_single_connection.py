"""graphql-sse's single connection mode: reserve, open, send, stop."""

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
from tests.graphql.serving import SECONDS, Api

FOLLOW = "subscription { activity { __typename } }"
MAKE = 'mutation { createPass(input: {externalId: "a"}) { pass { externalId } } }'


async def reserved(api: Api) -> str:
    response = await api.http.put(api.address, headers=api.headers)
    assert (response.status_code, response.headers["content-type"]) == (201, "text/plain; charset=utf-8")
    return response.text


@asynccontextmanager
async def opened(api: Api, token: str) -> AsyncIterator[AsyncIterator[tuple[str, dict[str, Any]]]]:
    """The events of the stream, opened as EventSource does: without an Authorization."""
    headers = {"accept": "text/event-stream"}

    async def events(response: httpx.Response) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        name = ""
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))

    async with asyncio.timeout(SECONDS):
        async with api.http.stream("GET", api.address, params={"token": token}, headers=headers) as response:
            assert response.status_code == 200
            yield events(response)


async def sent(api: Api, token: str, query: str, name: str | None) -> httpx.Response:
    extensions = {} if name is None else {"operationId": name}
    return await api.post(
        json.dumps({"query": query, "extensions": extensions}), **{"x-graphql-event-stream-token": token}
    )


async def test_operations_share_a_stream_and_are_told_apart_by_their_ids(api: Api) -> None:
    token = await reserved(api)
    async with opened(api, token) as events:
        assert (await sent(api, token, MAKE, "m")).status_code == 202
        name, told = await anext(events)
        assert (name, told["id"]) == ("next", "m")
        assert told["payload"]["data"] == {"createPass": {"pass": {"externalId": "a"}}}
        assert await anext(events) == ("complete", {"id": "m"})

        assert (await sent(api, token, FOLLOW, "s")).status_code == 202
        assert await anext(events) == (
            "next",
            {"id": "s", "payload": {"data": {"activity": {"__typename": "Heartbeat"}}}},
        )
        assert (await sent(api, token, FOLLOW, "s")).status_code == 400, "this id is taken"
        parameters = {"operationId": "s", "token": token}
        assert (await api.http.delete(api.address, params=parameters, headers=api.headers)).status_code == 200
        assert (await sent(api, token, "{ __typename }", "s")).status_code == 202, "and free again"
        while (event := await anext(events)) != ("complete", {"id": "s"}):
            assert event[1]["id"] == "s"


async def test_what_is_refused_is_answered_where_it_was_sent_with_a_status_that_clients_notice(api: Api) -> None:
    token = await reserved(api)
    assert (await sent(api, token, "{ nope }", "1")).status_code == 400
    assert (await sent(api, token, "{ __typename }", None)).status_code == 400
    assert (await sent(api, "unknown", "{ __typename }", "1")).status_code == 404
    headers = {**api.headers, "x-graphql-event-stream-token": token}
    parameters = {"query": MAKE, "extensions": '{"operationId": "1"}'}
    assert (await api.http.get(api.address, params=parameters, headers=headers)).status_code == 405
    assert (await api.http.put(api.address)).status_code == 401
    parameters = {"operationId": "1"}
    assert (await api.http.delete(api.address, params=parameters, headers=api.headers)).status_code == 404


async def test_a_stream_belongs_to_one_reader_and_one_key(api: Api) -> None:
    token = await reserved(api)
    async with opened(api, token):
        again = await api.http.get(api.address, params={"token": token}, headers={"accept": "text/event-stream"})
        assert again.status_code == 409
        api.secret = await api.key("read")
        assert (await sent(api, token, "{ __typename }", "1")).status_code == 404
    stray = await api.http.get(api.address, params={"token": "x"}, headers={"accept": "text/event-stream"})
    assert stray.status_code == 404


async def test_a_reservation_that_nobody_opens_is_forgotten(monkeypatch: Any) -> None:
    monkeypatch.setattr(single, "UNOPENED_TTL_SECONDS", 0.0)
    channels, actor = Channels(most=1), Actor("ws_1", "key_1", "test", frozenset())
    token = channels.reserve(actor)
    assert channels.find(token, actor) is not None
    async with asyncio.timeout(SECONDS):
        while channels.find(token) is not None:
            await asyncio.sleep(0)
    assert channels.find(channels.reserve(actor)) is not None, "its place is free again"
