"""Followers of the feed during a crash run, over WebSocket and server-sent events. They resume with their last cursor."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from app.domain.values.cursors import activity_cursor

from .load import EVERY_TYPE, Load

STREAM = """subscription Stream($after: String, $types: [String!]!) {
  activity(after: $after, filter: { types: $types, includeSilent: true, includeHistorical: true }) {
    __typename
    ... on ActivityEdge { cursor node { sequence } }
    ... on Heartbeat { cursor }
    ... on Lagged { cursor }
  }
}"""
PATIENCE_SECONDS = 15.0
"""How long a follower waits for a message before it connects again. A heartbeat comes after 10 s."""


class StreamEnded(Exception):
    """The stream ended or failed in a way after which a client connects again."""


@dataclass
class Follower:
    """A client that follows the feed from its beginning, and checks that the positions are 1, 2, 3 and so on."""

    load: Load
    name: str
    seen: int = 0
    connections: int = 0
    cursor: str = activity_cursor(0)

    async def follow(self, until: int | None = None) -> None:
        """Follow until the load stops or the position is reached."""
        read = self._read_ws if self.name == "ws" else self._read_sse
        while not (self.load.stopping if until is None else self.seen >= until):
            self.connections += 1
            try:
                async for payload in read():
                    if not self._take(payload):
                        return
                    if self.load.stopping if until is None else self.seen >= until:
                        break
            except (StreamEnded, TimeoutError, OSError, httpx.TransportError, WebSocketException, ValueError):
                await self.load.pause()

    def _take(self, payload: dict[str, Any]) -> bool:
        """Take a message of the stream, and return whether the follower goes on."""
        if "errors" in payload:
            if self.load.may_retry({error["extensions"]["code"] for error in payload["errors"]}):
                raise StreamEnded
            self.load.errors.append(f"the follower over {self.name} got {payload}")
            return False
        message = payload["data"]["activity"]
        if message["__typename"] == "ActivityEdge":
            self.seen += 1
            if message["node"]["sequence"] != self.seen:
                self.load.errors.append(
                    f"the follower over {self.name} saw {message['node']['sequence']} where {self.seen} comes next"
                )
                return False
        # The cursor of Lagged is that of the last entry, too.
        self.cursor = message["cursor"]
        return True

    @property
    def _request(self) -> dict[str, Any]:
        return {"query": STREAM, "variables": {"after": self.cursor, "types": EVERY_TYPE}}

    async def _read_ws(self) -> AsyncIterator[dict[str, Any]]:
        address = self.load.random.choice(self.load.addresses).replace("http", "ws", 1)
        headers = {"authorization": f"Bearer {self.load.secret}"}
        protocol = Subprotocol("graphql-transport-ws")
        async with connect(address, subprotocols=[protocol], additional_headers=headers, close_timeout=1) as socket:
            await socket.send(json.dumps({"type": "connection_init"}))
            while True:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    message = json.loads(await socket.recv())
                if message["type"] == "connection_ack":
                    await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": self._request}))
                elif message["type"] == "ping":
                    await socket.send(json.dumps({"type": "pong"}))
                elif message["type"] == "next":
                    yield message["payload"]
                elif message["type"] == "error":
                    yield {"errors": message["payload"]}
                else:
                    raise StreamEnded

    async def _read_sse(self) -> AsyncIterator[dict[str, Any]]:
        headers = {"authorization": f"Bearer {self.load.secret}", "accept": "text/event-stream"}
        address = self.load.random.choice(self.load.addresses)
        async with (
            httpx.AsyncClient(timeout=PATIENCE_SECONDS) as http,
            http.stream("POST", address, json=self._request, headers=headers) as response,
        ):
            async for line in response.aiter_lines():
                if line.startswith("data:") and line.removeprefix("data:").strip():
                    yield json.loads(line.removeprefix("data:"))
        raise StreamEnded
