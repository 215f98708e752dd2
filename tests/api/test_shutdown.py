"""Shutdown of the API: running requests are answered, and streams end so that their clients reconnect elsewhere."""

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
from tests.graphql.serving import Api, run_api
from tests.patience import PATIENCE_SECONDS

STREAM = "subscription { activity { __typename } }"
SLOW = 'mutation { createPass(input: {externalId: "ann"}) { pass { externalId } } }'
ANSWER = {"createPass": {"pass": {"externalId": "ann"}}}


@pytest.fixture
async def business(resources: Resources, clock: FixedClock) -> Business:
    return await open_business(resources, clock)


@pytest.fixture
def shutdown() -> Shutdown:
    return Shutdown()


@pytest.fixture
async def api(business: Business, shutdown: Shutdown) -> AsyncIterator[Api]:
    async with run_api(business, draining=shutdown) as running:
        yield running


@pytest.fixture
def blocked_insert(monkeypatch: pytest.MonkeyPatch) -> BlockedInsert:
    return BlockedInsert(monkeypatch)


class BlockedInsert:
    """An insert of a pass that waits until the test releases it, so that the mutation is running meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started, self.released = asyncio.Event(), asyncio.Event()
        from app.store.workspace.passes import PassQueries

        insert = PassQueries.insert

        async def wait_and_insert(*args: object) -> object:
            self.started.set()
            await self.released.wait()
            return await insert(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(PassQueries, "insert", wait_and_insert)


async def test_running_request_is_answered_and_its_connection_closed(
    api: Api, shutdown: Shutdown, blocked_insert: BlockedInsert
) -> None:
    request = asyncio.create_task(api.post(json.dumps({"query": SLOW})))
    await blocked_insert.started.wait()
    await shutdown.begin()
    blocked_insert.released.set()
    response = await request
    assert response.json()["data"] == ANSWER
    assert response.headers["connection"] == "close"


async def test_socket_gets_the_responses_of_running_operations_and_closes_with_1001(
    api: Api, shutdown: Shutdown, blocked_insert: BlockedInsert
) -> None:
    async with api.open_socket() as socket:
        await socket.subscribe(STREAM, "stream")
        await socket.receive_data()
        await socket.subscribe(SLOW, "mutation")
        await blocked_insert.started.wait()
        shutting_down = asyncio.create_task(shutdown.begin())
        await asyncio.sleep(0)
        await socket.subscribe("{ __typename }", "late")
        blocked_insert.released.set()
        answer, end = await socket.receive(), await socket.receive()
        assert (answer["id"], answer["payload"]["data"]) == ("mutation", ANSWER)
        assert end == {"id": "mutation", "type": "complete"}
        assert await socket.receive_close_code() == 1001
        await shutting_down


async def test_idle_socket_and_socket_without_init_close_with_1001(api: Api, shutdown: Shutdown) -> None:
    async with api.open_socket() as idle, api.open_raw_socket() as uninitialised:
        await shutdown.begin()
        assert [await idle.receive_close_code(), await uninitialised.receive_close_code()] == [1001, 1001]


async def test_event_stream_ends_without_complete(api: Api, shutdown: Shutdown) -> None:
    headers = {**api.headers, "accept": "text/event-stream"}
    async with api.http.stream("POST", api.url, json={"query": STREAM}, headers=headers) as response:
        parts = response.aiter_text()
        text = ""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "event: next" not in text:
                text += await anext(parts)
            await shutdown.begin()
            text += "".join([part async for part in parts])
    assert "complete" not in text


async def test_event_stream_that_starts_during_shutdown_ends_at_once(api: Api, shutdown: Shutdown) -> None:
    await shutdown.begin()
    await shutdown.begin()
    headers = {**api.headers, "accept": "text/event-stream"}
    async with asyncio.timeout(PATIENCE_SECONDS):
        response: httpx.Response = await api.http.post(api.url, json={"query": STREAM}, headers=headers)
    assert (response.status_code, response.headers["connection"]) == (200, "close")
    assert "complete" not in response.text
