"""The API goes away: what was begun is answered, streams end so that their clients go on elsewhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from app.api.shutdown import Shutdown
from app.clock import FixedClock
from app.resources import Resources
from tests.business import Business, open_business
from tests.graphql.serving import Api, serving

STREAM = "subscription { activity { __typename } }"
SLOW = 'mutation { createPass(input: {externalId: "ann"}) { pass { externalId } } }'
ANSWER = {"createPass": {"pass": {"externalId": "ann"}}}
SECONDS = 20


@pytest.fixture
async def business(resources: Resources, clock: FixedClock) -> Business:
    return await open_business(resources, clock)


@pytest.fixture
def draining() -> Shutdown:
    return Shutdown()


@pytest.fixture
async def api(business: Business, draining: Shutdown) -> AsyncIterator[Api]:
    async with serving(business, draining=draining) as running:
        yield running


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(monkeypatch)


class Held:
    """Holds the storing of a pass until it is let go, so that a mutation is surely under way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.let_go = asyncio.Event(), asyncio.Event()
        from app.store.workspace.passes import PassQueries

        insert = PassQueries.insert

        async def slow(*args: object) -> object:
            self.begun.set()
            await self.let_go.wait()
            return await insert(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(PassQueries, "insert", slow)


async def test_a_request_under_way_is_answered_and_its_connection_closed(
    api: Api, draining: Shutdown, held: Held
) -> None:
    running = asyncio.create_task(api.post(json.dumps({"query": SLOW})))
    await held.begun.wait()
    await draining.begin()
    held.let_go.set()
    response = await running
    assert response.json()["data"] == ANSWER
    assert response.headers["connection"] == "close"


async def test_a_socket_gets_the_answers_it_waits_for_then_closes_with_1001(
    api: Api, draining: Shutdown, held: Held
) -> None:
    async with api.socket() as socket:
        await socket.subscribe(STREAM, "stream")
        await socket.next()
        await socket.subscribe(SLOW, "mutation")
        await held.begun.wait()
        leaving = asyncio.create_task(draining.begin())
        await asyncio.sleep(0)
        await socket.subscribe("{ __typename }", "late")
        held.let_go.set()
        answer, end = await socket.receive(), await socket.receive()
        assert (answer["id"], answer["payload"]["data"]) == ("mutation", ANSWER)
        assert end == {"id": "mutation", "type": "complete"}
        assert await socket.close_code() == 1001
        await leaving


async def test_an_idle_or_silent_socket_closes_with_1001(api: Api, draining: Shutdown) -> None:
    async with api.socket() as idle, api.raw_socket() as silent:
        await draining.begin()
        assert [await idle.close_code(), await silent.close_code()] == [1001, 1001]


async def test_an_event_stream_ends_without_complete(api: Api, draining: Shutdown) -> None:
    headers = {**api.headers, "accept": "text/event-stream"}
    async with api.http.stream("POST", api.address, json={"query": STREAM}, headers=headers) as response:
        parts = response.aiter_text()
        text = ""
        async with asyncio.timeout(SECONDS):
            while "event: next" not in text:
                text += await anext(parts)
            await draining.begin()
            text += "".join([part async for part in parts])
    assert "complete" not in text


async def test_a_stream_that_begins_while_the_api_goes_away_ends_at_once(api: Api, draining: Shutdown) -> None:
    await draining.begin()
    await draining.begin()
    headers = {**api.headers, "accept": "text/event-stream"}
    async with asyncio.timeout(SECONDS):
        response: httpx.Response = await api.http.post(api.address, json={"query": STREAM}, headers=headers)
    assert (response.status_code, response.headers["connection"]) == (200, "close")
    assert "complete" not in response.text
