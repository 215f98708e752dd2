"""Subscriptions as multipart/mixed, the type that Apollo Client requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from app.domain.values.cursors import activity_cursor
from app.graphql.protocol.multipart import PARTS
from app.graphql.protocol.streams import stream_response
from tests.graphql.serving import Api

ACCEPT = 'multipart/mixed;boundary="graphql";subscriptionSpec=1.0,application/graphql-response+json,application/json'
QUERY = "subscription ($after: String) { activity(after: $after, first: 3) { __typename } }"


def parse_parts(text: str) -> list[dict[str, object]]:
    preamble, *parts, ending = text.split("\r\n--graphql")
    assert (preamble, ending) == ("", "--\r\n")
    bodies = []
    for part in parts:
        head, body = part.removeprefix("\r\n").split("\r\n\r\n")
        assert head == "content-type: application/json"
        bodies.append(json.loads(body))
    return bodies


async def test_each_message_of_a_subscription_is_one_part(api: Api) -> None:
    await api.business.record({"external_id": "1"}, {"external_id": "2"})
    await api.business.run_worker()
    body = json.dumps({"query": QUERY, "variables": {"after": activity_cursor(0)}})
    response = await api.post(body, accept=ACCEPT)
    assert response.status_code == 200
    assert response.headers["content-type"] == "multipart/mixed;boundary=graphql;subscriptionSpec=1.0"
    names = ("Heartbeat", "ActivityEdge", "ActivityEdge")
    assert parse_parts(response.text) == [{"payload": {"data": {"activity": {"__typename": name}}}} for name in names]


async def test_query_and_refused_document_are_answered_in_json(api: Api) -> None:
    answer = await api.post(json.dumps({"query": "{ __typename }"}), accept=ACCEPT)
    assert answer.headers["content-type"].startswith("application/graphql-response+json")
    refused = await api.post(json.dumps({"query": "subscription { nope }"}), accept=ACCEPT)
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"


async def test_error_of_the_subscription_field_is_sent_in_a_part(api: Api) -> None:
    body = json.dumps({"query": QUERY, "variables": {"after": "nonsense"}})
    [part] = parse_parts((await api.post(body, accept=ACCEPT)).text)
    assert '"BAD_USER_INPUT"' in json.dumps(part["payload"])


async def test_stream_without_messages_sends_empty_parts_as_keepalives() -> None:
    keepalive_received = asyncio.Event()

    async def late_message() -> AsyncGenerator[dict[str, Any], None]:
        await keepalive_received.wait()
        yield {"data": {}}

    text = ""
    async for chunk in stream_response(late_message(), PARTS, keepalive_seconds=0.01).body_iterator:
        text += bytes(chunk).decode()  # type: ignore[arg-type]
        if "{}" in text:
            keepalive_received.set()
    *empty, last = parse_parts(text)
    assert empty
    assert all(part == {} for part in empty)
    assert last == {"payload": {"data": {}}}
