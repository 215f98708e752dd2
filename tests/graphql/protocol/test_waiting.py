"""Clients that have not proved who they are: they have small pools, from which the oldest drops out."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack
from urllib.parse import urlsplit

import pytest

from app.api import inbound
from app.graphql.protocol.waiting import WaitingPool
from tests.business import Business
from tests.graphql.execution.test_limits import replace_settings
from tests.graphql.serving import run_api
from tests.patience import PATIENCE_SECONDS


class Client:
    """A client at one address; `ended` counts how many of its connections were ended."""

    def __init__(self, pool: WaitingPool, stack: ExitStack, address: str) -> None:
        self.address = address
        self.ended = 0
        self._pool = pool
        self._stack = stack

    def connect(self, count: int = 1) -> None:
        for _ in range(count):
            self._stack.enter_context(self._pool.wait(self.address, self._end))

    def _end(self) -> None:
        self.ended += 1


def test_new_client_takes_the_place_of_the_oldest_one_of_its_address() -> None:
    pool = WaitingPool(limit=100)
    with ExitStack() as stack:
        hostile, other = Client(pool, stack, "198.51.100.7"), Client(pool, stack, "203.0.113.9")
        other.connect()
        hostile.connect(80)
        assert (hostile.ended, other.ended) == (30, 0)


def test_full_pool_ends_the_oldest_client_of_all() -> None:
    pool = WaitingPool(limit=100)
    with ExitStack() as stack:
        clients = [Client(pool, stack, f"198.51.100.{number}") for number in range(3)]
        for client in clients:
            client.connect(40)
        assert [client.ended for client in clients] == [20, 0, 0]
    with ExitStack() as stack:
        late = Client(pool, stack, "198.51.100.9")
        late.connect(50)
        assert late.ended == 0, "clients that ended left their places"


async def test_anonymous_sockets_do_not_keep_out_a_client_with_a_key(business: Business) -> None:
    """Before, sockets without a key counted towards the limit of all sockets, and filled it."""
    async with run_api(replace_settings(business, max_sockets=50)) as api, AsyncExitStack() as stack:
        anonymous = [await stack.enter_async_context(api.open_raw_socket()) for _ in range(60)]
        async with api.open_socket() as socket:
            await socket.subscribe("{ __typename }")
            assert await socket.receive_data() == {"__typename": "Query"}
        assert await anonymous[0].receive_close_code() == 1013


async def test_unsigned_bodies_do_not_keep_out_the_next_message(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client needs no secret to begin a body of 1 MB at the address of a hook, and never to end it."""
    monkeypatch.setattr(inbound, "MAX_ARRIVING_BODIES", 4)
    async with run_api(business) as api, AsyncExitStack() as stack:
        address = urlsplit(api.url)
        head = b"POST /hooks/hook_none HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n\r\n"
        connections = []
        for _ in range(4):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            stack.callback(writer.close)
            writer.write(head + b"{")
            connections.append(reader)
        url = api.url.replace("/graphql", "/hooks/hook_none")
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert (await api.http.post(url, json={})).status_code == 401
            answers = await asyncio.wait(
                [asyncio.create_task(reader.readline()) for reader in connections], return_when=asyncio.FIRST_COMPLETED
            )
        assert {answer.result() for answer in answers[0]} == {b"HTTP/1.1 503 Service Unavailable\r\n"}
        for waiting in answers[1]:
            waiting.cancel()
