"""graphql-transport-ws: the close codes and rules of its protocol."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.types import Message
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from app.domain.actors import SCOPES, Actor
from app.graphql.execution.engine import Engine
from app.graphql.execution.persisted import PersistedDocuments
from app.graphql.execution.trusted_documents import TrustedDocuments
from app.graphql.protocol import ws
from app.graphql.schema import schema
from tests.graphql.serving import Api

STREAM = "subscription { activity { __typename ... on Heartbeat { cursor } } }"


async def test_a_query_is_one_next_and_one_complete(api: Api) -> None:
    async with api.socket() as socket:
        await socket.subscribe("{ __typename }")
        answer = await socket.receive()
        assert (answer["id"], answer["type"], answer["payload"]["data"]) == ("1", "next", {"__typename": "Query"})
        assert await socket.receive() == {"id": "1", "type": "complete"}
        await socket.subscribe("{ __typename }")
        assert (await socket.receive())["type"] == "next", "the id is free again"


async def test_the_key_may_come_with_connection_init(api: Api) -> None:
    async with api.raw_socket() as socket:
        await socket.send(type="connection_init", payload={"Authorization": api.headers["authorization"]})
        assert await socket.receive() == {"type": "connection_ack"}


async def test_a_null_payload_is_fine_when_the_handshake_had_the_key(api: Api) -> None:
    async with api.raw_socket(additional_headers=api.headers) as socket:
        await socket.send(type="connection_init", payload=None)
        assert await socket.receive() == {"type": "connection_ack"}


@pytest.mark.parametrize("payload", [None, {"authorization": "Bearer wrong"}])
async def test_a_missing_or_wrong_key_closes_with_4403(api: Api, payload: Any) -> None:
    async with api.raw_socket() as socket:
        await socket.send(type="connection_init", payload=payload)
        assert await socket.close_code() == 4403


async def test_silence_closes_with_4408(api: Api) -> None:
    async with api.raw_socket() as socket:
        assert await socket.close_code() == 4408


async def test_a_second_init_closes_with_4429_and_subscribing_before_the_first_with_4401(api: Api) -> None:
    async with api.socket() as socket:
        await socket.send(type="connection_init")
        assert await socket.close_code() == 4429
    async with api.raw_socket(additional_headers=api.headers) as socket:
        await socket.subscribe("{ __typename }")
        assert await socket.close_code() == 4401


async def test_an_id_in_use_closes_with_4409(api: Api) -> None:
    async with api.socket() as socket:
        await socket.subscribe(STREAM)
        await socket.next()
        await socket.subscribe(STREAM)
        while socket.connection.close_code is None:
            try:
                await socket.receive()
            except Exception:  # noqa: BLE001  # closed, which is what is waited for
                break
        assert await socket.close_code() == 4409


@pytest.mark.parametrize(
    "frame",
    [
        "nonsense", "[]", "1", "null", '"hi"', "{}", '{"type": "what"}', '{"type": "connection_init", "payload": []}',
        '{"type": "subscribe", "payload": {"query": "{__typename}"}}', '{"id": "1", "type": "subscribe"}',
        '{"id": ["1"], "type": "subscribe", "payload": {"query": "{__typename}"}}',
        '{"id": "1", "type": "subscribe", "payload": {"query": 1}}',
        '{"id": "1", "type": "subscribe", "payload": {"query": "{__typename}", "variables": []}}', b"{}",
    ],
)  # fmt: skip
async def test_what_is_not_a_message_closes_with_4400(api: Api, frame: str | bytes) -> None:
    async with api.raw_socket(additional_headers=api.headers) as socket:
        if "connection_init" not in str(frame):
            await socket.send(type="connection_init")
            await socket.receive()
        await socket.connection.send(frame)
        assert await socket.close_code() == 4400


async def test_pings_are_answered_also_before_init_and_pongs_ignored(api: Api) -> None:
    async with api.raw_socket() as socket:
        await socket.send(type="pong")
        await socket.send(type="ping", payload={"a": 1})
        assert await socket.receive() == {"type": "pong"}


async def test_an_error_ends_its_operation_and_no_other(api: Api) -> None:
    async with api.socket() as socket:
        await socket.subscribe(STREAM, "stream")
        await socket.next()
        bad_cursor = STREAM.replace("activity", 'activity(after: "x")', 1)
        for number, document in enumerate(("subscription {", "subscription { nope }", bad_cursor)):
            await socket.subscribe(document, str(number))
        seen: dict[str, str] = {}
        while len(seen) < 4:
            message = await socket.receive()
            seen[message["id"]] = message["type"]
        assert seen == {"stream": "next", "0": "error", "1": "error", "2": "error"}


async def test_complete_stops_a_stream_and_the_tailer_behind_it(api: Api) -> None:
    async with api.socket() as socket:
        await socket.subscribe(STREAM)
        await socket.next()
        await socket.send(id="1", type="complete")
        await socket.send(id="nobody", type="complete")
        await socket.subscribe("{ __typename }", "2")
        async with asyncio.timeout(10):
            while (await socket.receive())["id"] != "2":
                pass
        assert (await socket.receive()) == {"id": "2", "type": "complete"}


async def test_mutations_and_scopes_work_as_over_http(api: Api) -> None:
    api.secret = await api.key("write")
    async with api.socket() as socket:
        await socket.subscribe('mutation { createPass(input: {externalId: "a"}) { userErrors { code } } }')
        assert await socket.next() == {"createPass": {"userErrors": []}}
        await socket.receive()
        await socket.subscribe(STREAM)
        message = await socket.receive()
        assert message["type"] == "error"
        assert message["payload"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_another_protocol_closes_with_4406_and_a_foreign_page_is_not_let_in(api: Api) -> None:
    async with api.raw_socket(subprotocols=None) as socket:
        assert await socket.close_code() == 4406
    for origin in ("https://evil.example", "null", "http://["):
        with pytest.raises(InvalidStatus) as refused:
            async with api.raw_socket(origin=Origin(origin), subprotocols=[Subprotocol("graphql-transport-ws")]):
                pass
        assert refused.value.response.status_code == 403


async def test_one_socket_runs_at_most_a_hundred_operations_at_once(api: Api) -> None:
    async with api.socket() as socket:
        for number in range(101):
            await socket.subscribe(STREAM, str(number))
        async with asyncio.timeout(10):
            while (message := await socket.receive())["type"] != "error":
                pass
        assert message["id"] == "100"
        assert message["payload"][0]["extensions"]["code"] == "THROTTLED"


async def test_a_client_that_asks_without_end_and_reads_nothing_is_not_heard_without_end() -> None:
    """Checklist 2.9: never memory growth."""
    heard = 0

    async def receive() -> Message:
        nonlocal heard
        heard += 1
        if heard == 1:
            return {"type": "websocket.connect"}
        asked = {"id": str(heard), "type": "subscribe", "payload": {"query": "{ nope }"}}
        return {"type": "websocket.receive", "text": json.dumps({"type": "connection_init"} if heard == 2 else asked)}

    async def send(message: Message) -> None:
        if heard > 2:
            await asyncio.get_running_loop().create_future()

    async def opened(*_: object) -> Any:
        return SimpleNamespace(actor=Actor("ws_1", "key_1", "test", frozenset(SCOPES)))

    endpoint = ws.GraphQLSocket(Engine(schema), opened, PersistedDocuments(cast(Any, None), "test", TrustedDocuments()))
    scope = {"type": "websocket", "headers": [], "subprotocols": [ws.PROTOCOL], "client": None}
    serving = asyncio.create_task(endpoint(scope, receive, send))
    for _ in range(5 * ws.MAX_UNFINISHED_MESSAGES):
        await asyncio.sleep(0)
    assert heard == 2 + ws.MAX_UNFINISHED_MESSAGES
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
