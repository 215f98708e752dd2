"""GraphQL over WebSocket: the messages and close codes of the protocol graphql-transport-ws."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.types import Message
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from app.document_cache import DocumentCache
from app.domain.actors import SCOPES, Actor
from app.graphql.execution.engine import Engine
from app.graphql.execution.persisted import PersistedDocuments
from app.graphql.execution.trusted_documents import TrustedDocuments
from app.graphql.protocol.ws import GraphQLSocket
from app.graphql.protocol.ws_connection import MAX_UNSENT_OPERATIONS
from app.graphql.protocol.ws_rules import PROTOCOL
from app.graphql.schema import schema
from tests.business import Business
from tests.graphql.serving import Api, run_api
from tests.patience import PATIENCE_SECONDS

STREAM = "subscription { activity { __typename ... on Heartbeat { cursor } } }"


async def test_query_is_answered_with_one_next_and_one_complete(api: Api) -> None:
    async with api.open_socket() as socket:
        await socket.subscribe("{ __typename }")
        answer = await socket.receive()
        assert (answer["id"], answer["type"], answer["payload"]["data"]) == ("1", "next", {"__typename": "Query"})
        assert await socket.receive() == {"id": "1", "type": "complete"}
        await socket.subscribe("{ __typename }")
        assert (await socket.receive())["type"] == "next", "the id can be used again"


async def test_key_in_the_payload_of_connection_init_is_accepted(api: Api) -> None:
    async with api.open_raw_socket() as socket:
        await socket.send(type="connection_init", payload={"Authorization": api.headers["authorization"]})
        assert await socket.receive() == {"type": "connection_ack"}


async def test_connection_init_needs_no_payload_if_the_handshake_had_the_key(api: Api) -> None:
    async with api.open_raw_socket(additional_headers=api.headers) as socket:
        await socket.send(type="connection_init", payload=None)
        assert await socket.receive() == {"type": "connection_ack"}


@pytest.mark.parametrize("payload", [None, {"authorization": "Bearer wrong"}])
async def test_missing_or_wrong_key_closes_with_4403(api: Api, payload: Any) -> None:
    async with api.open_raw_socket() as socket:
        await socket.send(type="connection_init", payload=payload)
        assert await socket.receive_close_code() == 4403


async def test_socket_without_connection_init_closes_with_4408(business: Business) -> None:
    async with run_api(business, init_timeout_seconds=0.1) as api, api.open_raw_socket() as socket:
        assert await socket.receive_close_code() == 4408


async def test_second_init_closes_with_4429_and_subscribe_before_init_with_4401(api: Api) -> None:
    async with api.open_socket() as socket:
        await socket.send(type="connection_init")
        assert await socket.receive_close_code() == 4429
    async with api.open_raw_socket(additional_headers=api.headers) as socket:
        await socket.subscribe("{ __typename }")
        assert await socket.receive_close_code() == 4401


async def test_subscribe_with_an_id_in_use_closes_with_4409(api: Api) -> None:
    async with api.open_socket() as socket:
        await socket.subscribe(STREAM)
        await socket.receive_data()
        await socket.subscribe(STREAM)
        while socket.connection.close_code is None:
            try:
                await socket.receive()
            except Exception:  # noqa: BLE001  # the loop waits for the close, which raises
                break
        assert await socket.receive_close_code() == 4409


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
async def test_frame_that_is_no_valid_message_closes_with_4400(api: Api, frame: str | bytes) -> None:
    async with api.open_raw_socket(additional_headers=api.headers) as socket:
        if "connection_init" not in str(frame):
            await socket.send(type="connection_init")
            await socket.receive()
        await socket.connection.send(frame)
        assert await socket.receive_close_code() == 4400


async def test_ping_is_answered_before_init_too_and_pong_is_ignored(api: Api) -> None:
    async with api.open_raw_socket() as socket:
        await socket.send(type="pong")
        await socket.send(type="ping", payload={"a": 1})
        assert await socket.receive() == {"type": "pong"}


async def test_error_ends_only_the_operation_that_caused_it(api: Api) -> None:
    async with api.open_socket() as socket:
        await socket.subscribe(STREAM, "stream")
        await socket.receive_data()
        bad_cursor = STREAM.replace("activity", 'activity(after: "x")', 1)
        for number, document in enumerate(("subscription {", "subscription { nope }", bad_cursor)):
            await socket.subscribe(document, str(number))
        last_types: dict[str, str] = {}
        while len(last_types) < 4:
            message = await socket.receive()
            last_types[message["id"]] = message["type"]
        assert last_types == {"stream": "next", "0": "error", "1": "error", "2": "error"}


async def test_complete_from_the_client_stops_the_subscription(api: Api) -> None:
    async with api.open_socket() as socket:
        await socket.subscribe(STREAM)
        await socket.receive_data()
        await socket.send(id="1", type="complete")
        await socket.send(id="unknown", type="complete")
        await socket.subscribe("{ __typename }", "2")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await socket.receive())["id"] != "2":
                pass
        assert (await socket.receive()) == {"id": "2", "type": "complete"}


async def test_mutation_runs_on_a_socket_and_scopes_are_checked(api: Api) -> None:
    api.secret = await api.create_key("write")
    async with api.open_socket() as socket:
        await socket.subscribe('mutation { createPass(input: {externalId: "a"}) { userErrors { code } } }')
        assert await socket.receive_data() == {"createPass": {"userErrors": []}}
        await socket.receive()
        await socket.subscribe(STREAM)
        message = await socket.receive()
        assert message["type"] == "error"
        assert message["payload"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_other_subprotocol_closes_with_4406_and_a_foreign_origin_gets_403(api: Api) -> None:
    async with api.open_raw_socket(subprotocols=None) as socket:
        assert await socket.receive_close_code() == 4406
    for origin in ("https://evil.example", "null", "http://["):
        with pytest.raises(InvalidStatus) as refused:
            async with api.open_raw_socket(origin=Origin(origin), subprotocols=[Subprotocol("graphql-transport-ws")]):
                pass
        assert refused.value.response.status_code == 403


async def test_operation_101_on_one_socket_is_throttled(api: Api) -> None:
    async with api.open_socket() as socket:
        for number in range(101):
            await socket.subscribe(STREAM, str(number))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (message := await socket.receive())["type"] != "error":
                pass
        assert message["id"] == "100"
        assert message["payload"][0]["extensions"]["code"] == "THROTTLED"


async def test_api_stops_reading_from_a_client_that_sends_operations_and_reads_nothing() -> None:
    """Otherwise the memory of the process would grow with each operation whose response is not sent."""
    received = 0

    async def receive() -> Message:
        nonlocal received
        received += 1
        if received == 1:
            return {"type": "websocket.connect"}
        subscribe = {"id": str(received), "type": "subscribe", "payload": {"query": "{ nope }"}}
        message = {"type": "connection_init"} if received == 2 else subscribe
        return {"type": "websocket.receive", "text": json.dumps(message)}

    async def send(message: Message) -> None:
        if received > 2:
            await asyncio.get_running_loop().create_future()

    async def open_context(*_: object) -> Any:
        return SimpleNamespace(actor=Actor("ws_1", "key_1", "test", frozenset(SCOPES)), spent_points=0)

    persisted = PersistedDocuments(DocumentCache(cast(Any, None), "test"), TrustedDocuments())
    endpoint = GraphQLSocket(Engine(schema), open_context, persisted)
    scope = {"type": "websocket", "headers": [], "subprotocols": [PROTOCOL], "client": None}
    task = asyncio.create_task(endpoint(scope, receive, send))
    for _ in range(5 * MAX_UNSENT_OPERATIONS):
        await asyncio.sleep(0)
    assert received == 2 + MAX_UNSENT_OPERATIONS
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
