"""SIGTERM to one of two API processes under load: no request is lost, and a subscriber misses and repeats nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from app.commands.workspaces.workspaces import create_workspace
from app.config.settings import Settings
from app.local.processes import Child
from app.local.servers import free_port
from app.resources import Resources, open_resources
from app.store.operations import indexes
from tests import servers
from tests.patience import PATIENCE_SECONDS

CLIENTS = 8
REQUESTS_BEFORE, REQUESTS_AFTER = 15, 15
RECORD = """
mutation Buy($id: String!) {
  recordEvents(input: {events: [{passExternalId: "ann", type: "purchase", amount: 1, externalId: $id}],
                       createMissingPasses: true}) { results { status } }
}"""
FOLLOW = """
subscription($after: String) {
  activity(after: $after) {
    __typename
    ... on Heartbeat { cursor }
    ... on ActivityEdge { cursor node { type sequence data } }
  }
}"""


@dataclass
class Pair:
    """Two API processes and an API key; a worker runs too."""

    apis: list[Child]
    addresses: list[str]
    resources: Resources
    workspace_id: str
    secret: str
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.secret}"}


@pytest.fixture
async def pair(settings: Settings, tmp_path: Path) -> AsyncIterator[Pair]:
    ports = free_port(), free_port()
    each = [dataclasses.replace(settings, port=port, data_dir=tmp_path / str(port)) for port in ports]
    children = [*map(servers.api, each), servers.worker(settings)]
    async with open_resources(settings) as resources:
        await indexes.ensure_indexes(resources.db)
        profile, secret = await create_workspace(resources, "Kiosk")
        try:
            await asyncio.gather(*(child.start() for child in children))
            addresses = [f"http://127.0.0.1:{port}/graphql" for port in ports]
            yield Pair(children[:2], addresses, resources, workspace_id=profile.id, secret=secret)
        finally:
            for child in children:
                await child.kill()


@dataclass
class Client:
    """A client that sends one purchase after the other, and moves to the second API when the first refuses connections.

    Clients with an even number keep their connection, the others open one for every request.
    """

    pair: Pair
    name: int
    answered: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    async def run(self, warmed_up: asyncio.Semaphore) -> None:
        addresses = list(self.pair.addresses)
        after = 0
        limits = httpx.Limits(max_keepalive_connections=1 - self.name % 2)
        async with httpx.AsyncClient(headers=self.pair.headers, timeout=PATIENCE_SECONDS, limits=limits) as http:
            for number in range(10_000):
                event_id = f"{self.name}-{number}"
                body = {"query": RECORD, "variables": {"id": event_id}}
                try:
                    response = await http.post(addresses[0], json=body)
                except httpx.ConnectError:
                    addresses.pop(0)
                    response = await http.post(addresses[0], json=body)
                except httpx.TransportError as error:
                    self.lost.append(f"{event_id}: {error!r}")
                    continue
                assert response.json()["data"] == {"recordEvents": {"results": [{"status": "CREATED"}]}}
                self.answered.append(event_id)
                if number == REQUESTS_BEFORE:
                    warmed_up.release()
                after += self.pair.stopped.is_set()
                if after == REQUESTS_AFTER:
                    return


@dataclass
class Follower:
    """A follower of the feed over WebSockets. When a socket closes, it continues from its cursor at the next API."""

    pair: Pair
    seen: list[tuple[int, str]] = field(default_factory=list)
    closed: list[int | None] = field(default_factory=list)
    following: asyncio.Event = field(default_factory=asyncio.Event)
    cursor: str | None = None

    async def run(self) -> None:
        for address in self.pair.addresses:
            await self._follow(address.replace("http", "ws", 1))

    async def _follow(self, address: str) -> None:
        protocol = Subprotocol("graphql-transport-ws")
        async with connect(address, subprotocols=[protocol], additional_headers=self.pair.headers) as socket:
            try:
                await socket.send(json.dumps({"type": "connection_init"}))
                payload = {"query": FOLLOW, "variables": {"after": self.cursor}}
                await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
                async for frame in socket:
                    self._take(json.loads(frame))
                self.closed.append(socket.close_code)
            except ConnectionClosed as closed:
                self.closed.append(closed.rcvd.code if closed.rcvd else None)

    def _take(self, message: dict[str, object]) -> None:
        assert message["type"] in ("connection_ack", "next"), "the server must not complete a stream that can continue"
        if message["type"] == "next":
            [payload] = message["payload"]["data"].values()  # type: ignore[index]
            self.cursor = payload["cursor"]
            self.following.set()
            if payload["__typename"] == "ActivityEdge" and payload["node"]["type"] == "customer.custom_event":
                self.seen.append((payload["node"]["sequence"], payload["node"]["data"]["event"]["externalId"]))


async def test_stopping_an_api_under_load_loses_no_request_and_no_activity(pair: Pair) -> None:
    follower = Follower(pair)
    clients = [Client(pair, name) for name in range(CLIENTS)]
    warmed_up = asyncio.Semaphore(0)
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        following = group.create_task(follower.run())
        await follower.following.wait()
        running = [group.create_task(client.run(warmed_up)) for client in clients]
        for _ in clients:
            await warmed_up.acquire()
        first = pair.apis[0]
        first.signal(signal.SIGTERM)
        assert await first.wait() == -signal.SIGTERM
        pair.stopped.set()
        await asyncio.gather(*running)
        answered = [event_id for client in clients for event_id in client.answered]
        while len(follower.seen) < len(answered):
            await asyncio.sleep(0.05)
        following.cancel()
    assert [lost for client in clients for lost in client.lost] == []
    events = pair.resources.db["events"]
    stored = [doc["external_id"] async for doc in events.find({"workspace": pair.workspace_id}, {"external_id": 1})]
    assert sorted(stored) == sorted(answered)
    assert follower.closed == [1001]
    assert [sequence for sequence, _ in follower.seen] == sorted({sequence for sequence, _ in follower.seen})
    assert sorted(external_id for _, external_id in follower.seen) == sorted(answered)
