"""The feed at the edge: as a list, as a stream, with one cursor for both."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.domain.activities import CREATED, Activity
from app.domain.actors import SCOPES, Actor
from app.domain.values.cursors import activity_cursor
from app.feed.tailer import Feed, FeedEntries, FeedLagged, topic
from app.graphql.context import RequestContext
from app.graphql.execution.engine import Engine
from app.graphql.execution.requests import Request
from app.graphql.schema import schema
from tests.graphql.serving import Api, Socket

FIELDS = """cursor node { type category sequence passSequence occurredAt cause { kind event { type } segmentVersion }
  pass { externalId } data }"""
STREAM = (
    "subscription Stream($filter: ActivityFilter, $after: String) { activity(filter: $filter, after: $after) { __typename"
    f" ... on ActivityEdge {{ {FIELDS} }} ... on Heartbeat {{ cursor }} ... on CursorExpired {{ oldestCursor }} }} }}"
)
LIST = (
    "query List($filter: ActivityFilter, $first: Int, $after: String) { activity(filter: $filter, first: $first, after:"
    f" $after) {{ totalCount edges {{ {FIELDS} }} pageInfo {{ endCursor }} }} }}"
)
BUYERS = {"event": {"types": ["purchase"], "value": 1}}


async def edges(socket: Socket, count: int) -> list[dict[str, Any]]:
    """The next activities of a stream, whatever heartbeats come between."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        message = (await socket.next())["activity"]
        if message["__typename"] == "ActivityEdge":
            found.append(message)
    return found


async def test_a_recorded_event_reaches_a_subscriber_with_its_consequences(api: Api) -> None:
    await api.business.segment("buyers", BUYERS, notify="EMIT")
    async with api.socket() as socket:
        await socket.subscribe(STREAM)
        assert (await socket.next())["activity"]["__typename"] == "Heartbeat"
        await api.business.record({"external_id": "1"})
        await api.business.settle()
        created, bought, entered = await edges(socket, 3)
    assert [edge["node"]["type"] for edge in (created, bought, entered)] == [
        "customer.created",
        "customer.custom_event",
        "customer.segment.entered",
    ]
    node = entered["node"]
    assert (node["category"], node["sequence"], node["passSequence"]) == ("EFFECT", 3, 3)
    assert node["cause"] == {"kind": "EVENT", "event": {"type": "purchase"}, "segmentVersion": None}
    assert node["occurredAt"] == "2026-01-01T00:00:00.000Z"
    assert node["pass"] == {"externalId": "ann"}
    assert node["data"]["segment"]["key"] == "buyers"
    assert node["data"]["member"] is True


async def test_list_and_stream_tell_the_same_under_the_same_cursors(api: Api) -> None:
    await api.business.record(*({"pass_external_id": f"p{n}"} for n in range(4)))
    await api.business.settle()
    listed = (await api.data(LIST))["activity"]
    assert listed["totalCount"] == 8
    middle = listed["edges"][2]["cursor"]
    async with api.socket() as socket:
        await socket.subscribe(STREAM, after=middle)
        start = (await socket.next())["activity"]
        assert start == {"__typename": "Heartbeat", "cursor": middle}
        streamed = await edges(socket, 5)
    assert [{k: v for k, v in edge.items() if k != "__typename"} for edge in streamed] == listed["edges"][3:]
    page = (await api.data(LIST, first=2, after=middle))["activity"]
    assert page["edges"] == listed["edges"][3:5]


async def test_a_reconnect_with_the_last_cursor_loses_and_doubles_nothing(api: Api) -> None:
    seen: list[int] = []
    after: str | None = None
    for turn in range(3):
        async with api.socket() as socket:
            await socket.subscribe(STREAM, after=after)
            await socket.next()
            await api.business.record(*({"pass_external_id": f"{turn}-{n}"} for n in range(3)))
            await api.business.settle()
            # Away before everything of this turn was read.
            found = await edges(socket, 4)
            seen += [edge["node"]["sequence"] for edge in found]
            after = found[-1]["cursor"]
    async with api.socket() as socket:
        await socket.subscribe(STREAM, after=after)
        seen += [edge["node"]["sequence"] for edge in await edges(socket, 6)]
    assert seen == list(range(1, 19))


async def test_heartbeats_move_the_cursor_past_what_the_filter_hid(api: Api) -> None:
    async with api.socket() as socket:
        await socket.subscribe(STREAM, filter={"types": ["customer.segment.left"]})
        first = (await socket.next())["activity"]["cursor"]
        await api.business.record({})
        await api.business.settle()
        last = (await api.data(LIST))["activity"]["pageInfo"]["endCursor"]
        async with asyncio.timeout(10):
            while (cursor := (await socket.next())["activity"]["cursor"]) != last:
                assert cursor == first


async def test_a_subscriber_that_reads_too_slowly_is_told_how_far_behind_it_is(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checklist 2.9: an explicit `Lagged`. That nothing is lost behind it is told in tests/feed/test_tailer.py."""

    async def slow(*_: object) -> AsyncIterator[FeedEntries | FeedLagged]:
        yield FeedEntries(3)
        yield FeedLagged(3, 2_500)

    monkeypatch.setattr(Feed, "follow", slow)
    async with api.socket() as socket:
        await socket.subscribe("subscription { activity { __typename ... on Lagged { cursor behind } } }")
        assert await socket.next() == {"activity": {"__typename": "Heartbeat"}}
        told = (await socket.next())["activity"]
        assert told == {"__typename": "Lagged", "cursor": activity_cursor(3), "behind": 2_500}


async def test_a_silent_flip_is_hidden_unless_asked_for_in_list_and_stream(api: Api) -> None:
    await api.business.record({})
    await api.business.settle()
    segment = await api.business.segment("buyers", BUYERS)
    filters = {"segmentIds": [segment.id]}
    assert (await api.data(LIST, filter=filters))["activity"]["edges"] == []
    loud = (await api.data(LIST, filter={**filters, "includeSilent": True}))["activity"]["edges"]
    assert [edge["node"]["cause"]["kind"] for edge in loud] == ["BACKFILL"]
    start = (await api.data(LIST, first=1))["activity"]["pageInfo"]["endCursor"]
    async with api.socket() as socket:
        await socket.subscribe(STREAM, after=start, filter={**filters, "includeSilent": True})
        assert [edge["cursor"] for edge in await edges(socket, 1)] == [loud[0]["cursor"]]


async def test_a_pass_has_its_own_part_of_the_feed(api: Api) -> None:
    await api.business.record({}, {"pass_external_id": "bob"})
    await api.business.settle()
    data = await api.data('{ pass(externalId: "bob") { activity { nodes { pass { externalId } } totalCount } } }')
    assert data["pass"]["activity"]["totalCount"] == 2
    assert {node["pass"]["externalId"] for node in data["pass"]["activity"]["nodes"]} == {"bob"}


@pytest.mark.parametrize(
    "variables",
    [
        {"after": "x"},
        {"after": "AVsiYWN0aXZpdHkiLDk5XQ"},
        {"filter": {"types": [""]}},
        {"filter": {"occurredAfter": 1}},
    ],
)
async def test_a_bad_argument_ends_the_subscription_with_a_coded_error(api: Api, variables: dict[str, Any]) -> None:
    async with api.socket() as socket:
        await socket.subscribe(STREAM, **variables)
        message = await socket.receive()
        errors = message["payload"] if message["type"] == "error" else message["payload"]["errors"]
        assert errors[0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_a_cursor_before_what_is_kept_is_told_where_the_log_begins(api: Api) -> None:
    await api.business.record(*({"pass_external_id": f"p{n}"} for n in range(2)))
    await api.business.settle()
    await api.business.ctx.resources.db["activities"].delete_many({"pos": {"$lte": 2}})
    cursors = [edge["cursor"] for edge in (await api.data(LIST))["activity"]["edges"]]
    async with api.socket() as socket:
        await socket.subscribe(STREAM, after="AVsiYWN0aXZpdHkiLDBd")
        expired = (await socket.next())["activity"]
        assert (await socket.receive())["type"] == "complete"
        assert expired["__typename"] == "CursorExpired"
        await socket.subscribe(STREAM, after=expired["oldestCursor"])
        await socket.next()
        assert [edge["cursor"] for edge in await edges(socket, 2)] == cursors


async def test_a_workspace_hears_only_of_itself(api: Api) -> None:
    from tests.business import another_business

    stranger = await another_business(api.business.ctx.resources, api.business.clock, "Other")
    async with api.socket() as socket:
        await socket.subscribe(STREAM)
        await socket.next()
        await stranger.record({})
        await stranger.settle()
        await api.business.ctx.resources.bus.publish(topic(api.business.ctx.workspace.id), {})
        await api.business.record({"pass_external_id": "mine"})
        await api.business.settle()
        [first] = await edges(socket, 1)
    assert first["node"]["pass"] == {"externalId": "mine"}


async def test_a_stream_ends_by_itself_after_as_many_messages_as_were_asked_for(api: Api) -> None:
    await api.business.record({"external_id": "1"}, {"external_id": "2"})
    await api.business.settle()
    query = "subscription ($n: Int, $c: String) { activity(first: $n, after: $c) { __typename } }"
    async with api.socket() as socket:
        await socket.subscribe(query, n=3, c=activity_cursor(0))
        told = [(await socket.next())["activity"]["__typename"] for _ in range(3)]
        assert told == ["Heartbeat", "ActivityEdge", "ActivityEdge"]
        assert (await socket.receive())["type"] == "complete"
        await socket.subscribe(query, n=0)
        [error] = (await socket.receive())["payload"]
        assert error["extensions"]["problems"][0]["field"] == ["first"]


async def test_a_stream_keeps_nothing_of_what_it_has_told() -> None:
    """Checklist 2.9: never memory growth."""
    instant = datetime(2026, 1, 1, tzinfo=UTC)

    class Endless:
        async def follow(self, *_: object) -> AsyncIterator[FeedEntries]:
            for pos in itertools.count(1):
                told = Activity(pos, pos, "pass_1", CREATED, "ACTION", instant, instant, {}, {"a": pos}, None)
                yield FeedEntries(pos, (told,))

    actor = Actor("ws_1", "key_1", "test", frozenset(SCOPES))
    context = RequestContext(cast(Any, SimpleNamespace(actor=actor, workspace=None)), cast(Any, Endless()), 1.0)
    engine = Engine(schema)
    query = "subscription { activity { __typename ... on ActivityEdge { cursor node { type sequence data } } } }"
    bodies = engine.stream(engine.prepare(Request(query)), context)
    sizes = []
    for _ in range(3):
        for _ in range(200):
            await anext(bodies)
        gc.collect()
        sizes.append(len(gc.get_objects()))
    await bodies.aclose()
    assert sizes[-1] - sizes[0] < 100, "some 20 objects an event would be 8,000"
