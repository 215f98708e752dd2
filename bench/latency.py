"""How long an event takes from its mutation, by HTTP, to a subscriber, over WebSocket, on an otherwise idle machine."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect

from .http import Client
from .recording import RECORD_ONE, items
from .stock import Stock
from .timing import Side

FOLLOW = """subscription { activity(filter: {types: ["customer.custom_event"]}) {
  __typename ... on ActivityEdge { node { data } } } }"""
PATIENCE_SECONDS = 10.0


async def latency(stock: Stock, client: Client, host: str, port: int, times: int) -> Side:
    """Seconds from sending a mutation to receiving its event, one at a time, at moments that keep step with nothing."""
    chance = random.Random(2)
    side = Side("mutation to subscriber")
    async with connect(f"ws://{host}:{port}/graphql", subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
        await _send(socket, {"type": "connection_init", "payload": {"Authorization": f"Bearer {stock.secret}"}})
        assert (await _received(socket))["type"] == "connection_ack"
        await _send(socket, {"id": "1", "type": "subscribe", "payload": {"query": FOLLOW}})
        assert (await _received(socket))["payload"]["data"]["activity"]["__typename"] == "Heartbeat"
        for turn in range(times + 5):
            await asyncio.sleep(chance.uniform(0.05, 0.15))
            [event] = items(stock, 1, 1)
            body = client.body(RECORD_ONE, {"event": event})
            started = time.perf_counter()
            answered = asyncio.create_task(client.send(body))
            while True:
                told = (await _received(socket))["payload"]["data"]["activity"]
                if told["__typename"] == "ActivityEdge":
                    break
            took = time.perf_counter() - started
            answer = await answered
            assert told["node"]["data"]["event"]["externalId"] == event["externalId"], (told, answer)
            if turn >= 5:
                side.seconds.append(took)
    return side


async def _send(socket: ClientConnection, message: object) -> None:
    await socket.send(orjson.dumps(message).decode())


async def _received(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        message: dict[str, Any] = orjson.loads(await socket.recv())
    assert message["type"] in ("connection_ack", "next"), message
    return message
