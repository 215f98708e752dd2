"""The part `latency`: the time from a mutation over HTTP to a subscriber over WebSocket, on an idle machine."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect

from .http import Client
from .recording import RECORD_ONE, generate_items
from .stock import Stock
from .timing import Side

FOLLOW = """subscription { activity(filter: {types: ["customer.custom_event"]}) {
  __typename ... on ActivityEdge { node { data } } } }"""
RECEIVE_TIMEOUT_SECONDS = 10.0


async def measure_latency(stock: Stock, client: Client, host: str, port: int, times: int) -> Side:
    """Measure the seconds from sending a mutation to receiving its event.

    Mutations are sent one at a time, at random intervals, so that they do not coincide with the interval of a timer.
    """
    chance = random.Random(2)
    side = Side("mutation to subscriber")
    async with connect(f"ws://{host}:{port}/graphql", subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
        await _send(socket, {"type": "connection_init", "payload": {"Authorization": f"Bearer {stock.secret}"}})
        assert (await _receive(socket))["type"] == "connection_ack"
        await _send(socket, {"id": "1", "type": "subscribe", "payload": {"query": FOLLOW}})
        assert (await _receive(socket))["payload"]["data"]["activity"]["__typename"] == "Heartbeat"
        for number in range(times + 5):
            await asyncio.sleep(chance.uniform(0.05, 0.15))
            [event] = generate_items(stock, 1, 1)
            body = client.body(RECORD_ONE, {"event": event})
            started = time.perf_counter()
            response = asyncio.create_task(client.send(body))
            while True:
                activity = (await _receive(socket))["payload"]["data"]["activity"]
                if activity["__typename"] == "ActivityEdge":
                    break
            seconds = time.perf_counter() - started
            answer = await response
            assert activity["node"]["data"]["event"]["externalId"] == event["externalId"], (activity, answer)
            if number >= 5:
                side.seconds.append(seconds)
    return side


async def _send(socket: ClientConnection, message: object) -> None:
    await socket.send(orjson.dumps(message).decode())


async def _receive(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(RECEIVE_TIMEOUT_SECONDS):
        message: dict[str, Any] = orjson.loads(await socket.recv())
    assert message["type"] in ("connection_ack", "next"), message
    return message
