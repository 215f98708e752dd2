"""The activity feed in GraphQL, as a list and as a subscription, with the same cursors in both."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
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
from tests.business import bought_within
from tests.graphql.serving import Api, Socket
from tests.patience import PATIENCE_SECONDS

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


async def read_edges(socket: Socket, count: int) -> list[dict[str, Any]]:
    """Return the next `count` activities of a subscription, and skip the heartbeats between them."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        message = (await socket.receive_data())["activity"]
        if message["__typename"] == "ActivityEdge":
            found.append(message)
    return found


async def test_subscriber_receives_a_recorded_event_and_the_transitions_it_causes(api: Api) -> None:
    await api.business.create_segment("buyers", BUYERS, notify="EMIT")
    async with api.open_socket() as socket:
        await socket.subscribe(STREAM)
        assert (await socket.receive_data())["activity"]["__typename"] == "Heartbeat"
        await api.business.record({"external_id": "1"})
        await api.business.run_worker()
        created, bought, entered = await read_edges(socket, 3)
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


async def test_events_of_the_activities_select_what_a_list_and_a_subscription_return(api: Api) -> None:
    """By type, source and metadata of the event, and by the kind of the cause."""
    north = {"path": "store", "operator": "EQ", "value": "north"}
    async with api.open_socket() as socket:
        selected = {"eventTypes": ["purchase"], "sources": ["till"], "metadata": [north], "causes": ["EVENT"]}
        await socket.subscribe(STREAM, filter=selected)
        assert (await socket.receive_data())["activity"]["__typename"] == "Heartbeat"
        await api.business.record(
            {"external_id": "1", "source": "till", "metadata": {"store": "south"}},
            {"external_id": "2", "source": "crm", "metadata": {"store": "north"}},
            {"external_id": "3", "source": "till", "metadata": {"store": "north"}, "type": "visit"},
            {"external_id": "4", "source": "till", "metadata": {"store": "north"}},
        )
        await api.business.run_worker()
        [edge] = await read_edges(socket, 1)
    assert edge["node"]["data"]["event"]["externalId"] == "4"
    listed = {name: await list_external_ids(api, {name: value}) for name, value in selected.items()}
    assert listed == {
        "eventTypes": ["1", "2", "4"], "sources": ["1", "3", "4"], "metadata": ["2", "3", "4"],
        "causes": ["1", "2", "3", "4"],
    }  # fmt: skip
    assert await list_external_ids(api, selected) == ["4"]
    created = await api.fetch_data(LIST, filter={"causes": ["PASS_CREATED"]})
    assert created["activity"]["edges"] == [], "the creation of a pass has no cause"


async def test_filter_by_events_selects_the_transitions_that_they_caused(api: Api) -> None:
    """An exit by time carries no event. The entry carries the purchase, also if the filter asks for its metadata."""
    await api.business.create_segment("lately", bought_within(9), notify="EMIT")
    await api.business.record({"source": "till", "metadata": {"store": "north"}}, {"type": "visit", "source": "crm"})
    await api.business.run_worker()
    api.business.clock.set(await api.business.clock.now() + timedelta(days=10))
    await api.business.run_worker()
    about_purchase = ["customer.custom_event", "customer.segment.entered"]
    for selected in (
        {"eventTypes": ["purchase"]},
        {"sources": ["till"]},
        {"metadata": [{"path": "store", "operator": "EQ", "value": "north"}]},
    ):
        edges = (await api.fetch_data(LIST, filter=selected))["activity"]["edges"]
        assert sorted(edge["node"]["type"] for edge in edges) == about_purchase, selected
        assert {edge["node"]["data"]["event"]["type"] for edge in edges} == {"purchase"}
    exits = (await api.fetch_data(LIST, filter={"types": ["customer.segment.left"]}))["activity"]["edges"]
    assert ["event" in edge["node"]["data"] for edge in exits] == [False]


async def list_external_ids(api: Api, selected: dict[str, Any]) -> list[str]:
    """Return the external ids of the events of the activities that a filter selects, sorted."""
    edges = (await api.fetch_data(LIST, filter=selected))["activity"]["edges"]
    return sorted(edge["node"]["data"]["event"]["externalId"] for edge in edges)


async def test_list_and_subscription_return_the_same_activities_with_the_same_cursors(api: Api) -> None:
    await api.business.record(*({"pass_external_id": f"p{n}"} for n in range(4)))
    await api.business.run_worker()
    listed = (await api.fetch_data(LIST))["activity"]
    assert listed["totalCount"] == 8
    middle = listed["edges"][2]["cursor"]
    async with api.open_socket() as socket:
        await socket.subscribe(STREAM, after=middle)
        start = (await socket.receive_data())["activity"]
        assert start == {"__typename": "Heartbeat", "cursor": middle}
        streamed = await read_edges(socket, 5)
    assert [{k: v for k, v in edge.items() if k != "__typename"} for edge in streamed] == listed["edges"][3:]
    page = (await api.fetch_data(LIST, first=2, after=middle))["activity"]
    assert page["edges"] == listed["edges"][3:5]


async def test_reconnect_with_the_last_cursor_neither_misses_nor_repeats_activities(api: Api) -> None:
    sequences: list[int] = []
    after: str | None = None
    for round_number in range(3):
        async with api.open_socket() as socket:
            await socket.subscribe(STREAM, after=after)
            await socket.receive_data()
            await api.business.record(*({"pass_external_id": f"{round_number}-{n}"} for n in range(3)))
            await api.business.run_worker()
            # The client disconnects although two of the six activities of this round are unread.
            found = await read_edges(socket, 4)
            sequences += [edge["node"]["sequence"] for edge in found]
            after = found[-1]["cursor"]
    async with api.open_socket() as socket:
        await socket.subscribe(STREAM, after=after)
        sequences += [edge["node"]["sequence"] for edge in await read_edges(socket, 6)]
    assert sequences == list(range(1, 19))


async def test_heartbeats_move_the_cursor_past_activities_that_the_filter_hides(api: Api) -> None:
    async with api.open_socket() as socket:
        await socket.subscribe(STREAM, filter={"types": ["customer.segment.left"]})
        first = (await socket.receive_data())["activity"]["cursor"]
        await api.business.record({})
        await api.business.run_worker()
        last = (await api.fetch_data(LIST))["activity"]["pageInfo"]["endCursor"]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (cursor := (await socket.receive_data())["activity"]["cursor"]) != last:
                assert cursor == first


async def test_slow_subscriber_receives_Lagged_with_the_number_of_activities_behind(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tests/feed/test_tailer.py shows that a lagging follower misses no activity."""

    async def slow(*_: object, **_named: object) -> AsyncIterator[FeedEntries | FeedLagged]:
        yield FeedEntries(3)
        yield FeedLagged(3, 2_500)

    monkeypatch.setattr(Feed, "follow", slow)
    async with api.open_socket() as socket:
        await socket.subscribe("subscription { activity { __typename ... on Lagged { cursor behind } } }")
        assert await socket.receive_data() == {"activity": {"__typename": "Heartbeat"}}
        message = (await socket.receive_data())["activity"]
        assert message == {"__typename": "Lagged", "cursor": activity_cursor(3), "behind": 2_500}


async def test_silent_transition_is_hidden_unless_the_filter_includes_silent_ones(api: Api) -> None:
    await api.business.record({})
    await api.business.run_worker()
    segment = await api.business.create_segment("buyers", BUYERS)
    filters = {"segmentIds": [segment.id]}
    assert (await api.fetch_data(LIST, filter=filters))["activity"]["edges"] == []
    silent = (await api.fetch_data(LIST, filter={**filters, "includeSilent": True}))["activity"]["edges"]
    assert [edge["node"]["cause"]["kind"] for edge in silent] == ["BACKFILL"]
    start = (await api.fetch_data(LIST, first=1))["activity"]["pageInfo"]["endCursor"]
    async with api.open_socket() as socket:
        await socket.subscribe(STREAM, after=start, filter={**filters, "includeSilent": True})
        assert [edge["cursor"] for edge in await read_edges(socket, 1)] == [silent[0]["cursor"]]


async def test_activity_of_a_pass_lists_only_activities_of_that_pass(api: Api) -> None:
    await api.business.record({}, {"pass_external_id": "bob"})
    await api.business.run_worker()
    data = await api.fetch_data('{ pass(externalId: "bob") { activity { nodes { pass { externalId } } totalCount } } }')
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
async def test_invalid_argument_ends_the_subscription_with_a_coded_error(api: Api, variables: dict[str, Any]) -> None:
    async with api.open_socket() as socket:
        await socket.subscribe(STREAM, **variables)
        message = await socket.receive()
        errors = message["payload"] if message["type"] == "error" else message["payload"]["errors"]
        assert errors[0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_cursor_before_the_start_of_the_log_gets_CursorExpired_with_the_oldest(api: Api) -> None:
    await api.business.record(*({"pass_external_id": f"p{n}"} for n in range(2)))
    await api.business.run_worker()
    await api.business.ctx.resources.db["activities"].delete_many({"pos": {"$lte": 2}})
    cursors = [edge["cursor"] for edge in (await api.fetch_data(LIST))["activity"]["edges"]]
    async with api.open_socket() as socket:
        await socket.subscribe(STREAM, after="AVsiYWN0aXZpdHkiLDBd")
        expired = (await socket.receive_data())["activity"]
        assert (await socket.receive())["type"] == "complete"
        assert expired["__typename"] == "CursorExpired"
        await socket.subscribe(STREAM, after=expired["oldestCursor"])
        await socket.receive_data()
        assert [edge["cursor"] for edge in await read_edges(socket, 2)] == cursors


async def test_subscriber_receives_no_activities_of_another_workspace(api: Api) -> None:
    from tests.business import create_business

    stranger = await create_business(api.business.ctx.resources, api.business.clock, "Other")
    async with api.open_socket() as socket:
        await socket.subscribe(STREAM)
        await socket.receive_data()
        await stranger.record({})
        await stranger.run_worker()
        await api.business.ctx.resources.bus.publish(topic(api.business.ctx.workspace.id), {})
        await api.business.record({"pass_external_id": "mine"})
        await api.business.run_worker()
        [first] = await read_edges(socket, 1)
    assert first["node"]["pass"] == {"externalId": "mine"}


async def test_subscription_with_first_completes_after_that_many_messages(api: Api) -> None:
    await api.business.record({"external_id": "1"}, {"external_id": "2"})
    await api.business.run_worker()
    query = "subscription ($n: Int, $c: String) { activity(first: $n, after: $c) { __typename } }"
    async with api.open_socket() as socket:
        await socket.subscribe(query, n=3, c=activity_cursor(0))
        typenames = [(await socket.receive_data())["activity"]["__typename"] for _ in range(3)]
        assert typenames == ["Heartbeat", "ActivityEdge", "ActivityEdge"]
        assert (await socket.receive())["type"] == "complete"
        await socket.subscribe(query, n=0)
        [error] = (await socket.receive())["payload"]
        assert error["extensions"]["problems"][0]["field"] == ["first"]


async def test_memory_of_a_subscription_does_not_grow_with_the_messages_it_sends() -> None:
    instant = datetime(2026, 1, 1, tzinfo=UTC)

    class EndlessFeed:
        async def follow(self, *_: object, **_named: object) -> AsyncIterator[FeedEntries]:
            for pos in itertools.count(1):
                activity = Activity(
                    pos,
                    pos,
                    "pass_1",
                    type=CREATED,
                    category="ACTION",
                    occurred_at=instant,
                    recorded_at=instant,
                    cause={},
                    data={"a": pos},
                )
                yield FeedEntries(pos, (activity,))

    actor = Actor("ws_1", "key_1", "test", frozenset(SCOPES))
    context = RequestContext(cast(Any, SimpleNamespace(actor=actor, workspace=None)), cast(Any, EndlessFeed()), 1.0)
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
    assert sizes[-1] - sizes[0] < 100, "if each of the 400 events left 20 objects, there would be 8,000 more"
