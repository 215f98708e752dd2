"""The feed as a live stream: no activity is missed or repeated, also behind the buffer and without Redis."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.bus import Bus
from app.clock import FixedClock
from app.commands.context import Context
from app.domain.activities import (
    CREATED,
    DELETED,
    ENTERED,
    ERASED_DATA,
    LEFT,
    Activity,
    category_of,
)
from app.domain.activity_queries import ActivityQuery, match_none
from app.domain.errors import InvalidInput
from app.domain.values.conditions import Condition, Operator
from app.feed import tailer
from app.feed.tailer import Feed, FeedEntries, FeedExpired, FeedLagged, topic
from app.resources import Resources
from app.store.mongo.paging import PageRequest
from app.store.workspace.activities import ActivityQueries
from tests.business import Business, open_business
from tests.patience import PATIENCE_SECONDS
from tests.store_proxy import StoreProxy

START = datetime(2026, 1, 1, tzinfo=UTC)
QUIET_SECONDS = 0.1
Stream = AsyncIterator[FeedEntries | FeedLagged | FeedExpired]


def activity(pos: int, **fields: object) -> Activity:
    base = Activity(
        pos,
        pos,
        "pass_1",
        type=CREATED,
        category=category_of(CREATED),
        occurred_at=START + timedelta(seconds=pos),
        recorded_at=START,
        cause={},
        data={},
    )
    return replace(base, **fields)  # type: ignore[arg-type]


async def append(business: Business, first: int, last: int) -> None:
    """Append activities at the positions from `first` to `last`, and announce them."""
    log = [activity(pos) for pos in range(first, last + 1)]
    assert await business.ctx.workspace.activities.append(log) == len(log)
    await business.ctx.resources.bus.publish(topic(business.ctx.workspace.id), {})


@contextlib.asynccontextmanager
async def follow(business: Business, feed: Feed, after: int | None = None, **query: object) -> AsyncIterator[Stream]:
    """Follow the log from a position, or from its end, with the filter of the query."""
    activity_query = ActivityQuery(**query)  # type: ignore[arg-type]
    pass_ids = () if activity_query.pass_id is None else (activity_query.pass_id, *activity_query.aliases)
    stream = feed.follow(business.ctx.workspace, after, activity_query.matches, QUIET_SECONDS, pass_ids=pass_ids)
    async with contextlib.aclosing(stream), asyncio.timeout(PATIENCE_SECONDS):  # type: ignore[type-var]
        yield stream


async def read_positions(stream: Stream, count: int, *, may_lag: bool = False) -> list[int]:
    """Return the positions of the next `count` activities. With `may_lag`, skip FeedLagged messages between them."""
    found: list[int] = []
    while len(found) < count:
        message = await anext(stream)
        if may_lag and isinstance(message, FeedLagged):
            continue
        assert isinstance(message, FeedEntries)
        found += [activity.position for activity in message.activities]
    return found


@pytest.fixture
async def business(resources: Resources, clock: FixedClock) -> Business:
    """Create an empty workspace."""
    return await open_business(resources, clock)


async def test_stream_yields_its_start_first_and_then_only_new_activities(business: Business) -> None:
    await append(business, 1, 3)
    async with follow(business, Feed(business.ctx.resources.bus)) as stream:
        assert await anext(stream) == FeedEntries(3)
        await append(business, 4, 5)
        assert await read_positions(stream, 2) == [4, 5]


async def test_replay_of_old_activities_continues_with_new_ones_without_a_gap(business: Business) -> None:
    await append(business, 1, 30)
    feed = Feed(business.ctx.resources.bus)
    async with follow(business, feed, 0) as early, follow(business, feed, 12) as late:
        writing = asyncio.create_task(_append_in_steps(business, 31, 90))
        assert await read_positions(early, 90) == list(range(1, 91))
        assert await read_positions(late, 78) == list(range(13, 91))
        await writing


async def _append_in_steps(business: Business, first: int, last: int) -> None:
    for pos in range(first, last + 1, 5):
        await append(business, pos, min(pos + 4, last))


async def test_follower_of_passes_reads_only_their_activities_behind_the_buffer(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder of a token for one pass made the process read the whole log of the workspace before."""
    activities = business.ctx.workspace.activities
    limits: list[int] = []
    read = ActivityQueries.after

    async def after(queries: ActivityQueries, pos: int, limit: int) -> list[Activity]:
        limits.append(limit)
        return await read(queries, pos, limit)

    monkeypatch.setattr(ActivityQueries, "after", after)
    monkeypatch.setattr(tailer, "REPLAY_BATCH_SIZE", 2)
    own = (3, 40, 41, 170, 290)
    log = [
        activity(pos, pass_id="pass_2" if pos % 20 else "pass_3") if pos in own else activity(pos)
        for pos in range(1, 301)
    ]
    assert await activities.append(log) == len(log)
    feed = Feed(business.ctx.resources.bus, max_buffered=10)
    async with follow(business, feed, 0, pass_id="pass_2", aliases=["pass_3"]) as stream:
        assert await read_positions(stream, 5) == list(own)
        message = await anext(stream)
        assert message == FeedEntries(300), "the position moves to the end of the log"
        await append(business, 301, 301)
        await activities.append([activity(302, pass_id="pass_3")])
        await business.ctx.resources.bus.publish(topic(business.ctx.workspace.id), {})
        assert await read_positions(stream, 1) == [302]
    async with follow(business, feed, 0, pass_id="pass_2") as stream:
        assert await read_positions(stream, 2) == [3, 41]
        await business.ctx.resources.db["workspaces"].update_one(
            {"_id": business.ctx.workspace.id}, {"$set": {"front": 100}}, upsert=True
        )
        assert [message async for message in stream] == [FeedExpired(100)]
    assert 2 not in limits, "it read the activities of other passes"


async def test_follower_behind_the_buffer_gets_FeedLagged_and_misses_nothing(business: Business) -> None:
    """The follower reads the log until it reaches the buffer again. The API sends `Lagged` for FeedLagged."""
    feed = Feed(business.ctx.resources.bus, max_buffered=10)
    async with follow(business, feed) as fast, follow(business, feed) as slow:
        await anext(fast)
        await anext(slow)
        await append(business, 1, 8)
        assert await read_positions(slow, 8) == list(range(1, 9))
        await append(business, 9, 60)
        assert [activity.position for activity in await read_activities(fast, 60)] == list(range(1, 61))
        assert await anext(slow) == FeedLagged(8, 52)
        assert await read_positions(slow, 52) == list(range(9, 61)), "one FeedLagged, and then each activity"
        async with follow(business, feed, 0) as late:
            assert await read_positions(late, 60) == list(range(1, 61)), (
                "a follower that replays old activities is not lagging"
            )
        await append(business, 61, 90)
        await read_activities(fast, 30)
        assert await anext(slow) == FeedLagged(60, 30), "it had caught up, so it gets another FeedLagged"


async def read_activities(stream: Stream, count: int) -> list[Activity]:
    """Return the next `count` activities, and skip other messages: appending many at once can make a follower lag."""
    found: list[Activity] = []
    while len(found) < count:
        message = await anext(stream)
        found += message.activities if isinstance(message, FeedEntries) else ()
    return found


async def test_buffers_are_bounded_for_any_number_of_activities_and_workspaces(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tailer, "MAX_BUFFERED_ENTRIES_TOTAL", 30)
    monkeypatch.setattr(tailer, "MIN_BUFFERED_ENTRIES", 5)
    feed = Feed(business.ctx.resources.bus, max_buffered=20)
    async with contextlib.AsyncExitStack() as streams:
        stuck = await streams.enter_async_context(follow(business, feed))
        await anext(stuck)
        fast = await streams.enter_async_context(follow(business, feed))
        await anext(fast)
        await append(business, 1, 300)
        await read_activities(fast, 300)
        assert feed.buffered_entries == feed.max_buffered == 20
        others = [replace(business, ctx=_other_workspace(business, number)) for number in range(3)]
        for other in others:
            stream = await streams.enter_async_context(follow(other, feed))
            await anext(stream)
        await append(business, 301, 301)
        await read_activities(fast, 1)
        assert feed.buffered_entries == feed.max_buffered == 30 // 4
        assert await anext(stuck) == FeedLagged(0, 301), "the feed keeps no activities for a single follower"
        monkeypatch.setattr(tailer, "MAX_BUFFERED_BYTES", 4 * 3 * len('{"event":"large"}'))
        large = [activity(pos, data={"event": "large"}) for pos in range(302, 320)]
        await business.ctx.workspace.activities.append(large)
        await business.ctx.resources.bus.publish(topic(business.ctx.workspace.id), {})
        await read_activities(fast, 18)
        assert feed.buffered_entries == 3, "the workspace gets a quarter of the bytes"


def _other_workspace(business: Business, number: int) -> Context:
    return replace(business.ctx, workspace=business.ctx.resources.workspace(f"ws_{number}"))


async def test_tick_finds_activities_that_no_message_announced(business: Business) -> None:
    # On a bus with another prefix, the feed receives no announcement.
    other_bus = Bus(business.ctx.resources.redis, "another prefix")
    async with follow(business, Feed(other_bus, tick_seconds=0.02)) as stream:
        await anext(stream)
        await append(business, 1, 1)
        assert await read_positions(stream, 1) == [1]
    await other_bus.aclose()


async def test_heartbeats_move_the_position_past_activities_that_the_filter_hides(business: Business) -> None:
    async with follow(business, Feed(business.ctx.resources.bus), types=[ENTERED]) as stream:
        assert await anext(stream) == FeedEntries(0)
        await append(business, 1, 5)
        message = await anext(stream)
        while message != FeedEntries(5):
            assert message == FeedEntries(0)
            message = await anext(stream)


async def test_position_beyond_the_log_is_refused_and_a_cut_off_one_gets_FeedExpired(business: Business) -> None:
    await append(business, 1, 5)
    feed = Feed(business.ctx.resources.bus)
    with pytest.raises(InvalidInput):
        async with follow(business, feed, 6) as stream:
            await anext(stream)
    await business.ctx.resources.db["activities"].delete_many({"pos": {"$lte": 3}})
    async with follow(business, feed, 1) as stream:
        assert [message async for message in stream] == [FeedExpired(3)]
    async with follow(business, feed, 3) as stream:
        assert await anext(stream) == FeedEntries(3)
        assert await read_positions(stream, 2) == [4, 5]


async def test_newest_position_is_followed_although_the_first_read_is_old(proxied: Business, proxy: StoreProxy) -> None:
    proxy.keep_answers("find", "activities")
    assert await proxied.ctx.workspace.last_position() == 0
    await append(proxied, 1, 2)
    proxy.answer_as_before("find", "activities")
    async with follow(proxied, Feed(proxied.ctx.resources.bus), after=2) as stream:
        assert await anext(stream) == FeedEntries(2)
    assert proxy.count("update", "workspaces") == 1


async def test_hole_in_the_log_is_logged_and_the_other_activities_are_yielded(
    business: Business, caplog: pytest.LogCaptureFixture
) -> None:
    async with follow(business, Feed(business.ctx.resources.bus)) as stream:
        await anext(stream)
        log = [activity(pos) for pos in (1, 2, 5)]
        with caplog.at_level(logging.CRITICAL, logger="app.feed.tailer"):
            await business.ctx.workspace.activities.append(log)
            await business.ctx.resources.bus.publish(topic(business.ctx.workspace.id), {})
            # The buffer cannot hold a gap, so it drops all entries. A follower that has not read them gets a FeedLagged.
            assert await read_positions(stream, 3, may_lag=True) == [1, 2, 5]
    assert "[3, 4]" in caplog.text


async def test_tailer_of_a_workspace_runs_only_while_it_has_followers(business: Business) -> None:
    feed = Feed(business.ctx.resources.bus)
    before = asyncio.all_tasks()
    async with follow(business, feed) as one, follow(business, feed) as two:
        await anext(one)
        await anext(two)
        assert len(asyncio.all_tasks() - before) == 2
    assert not asyncio.all_tasks() - before


QUERIES = (
    ActivityQuery(),
    ActivityQuery(types=[ENTERED, LEFT], include_silent=True),
    ActivityQuery(pass_id="pass_2", include_historical=False),
    ActivityQuery(segment_ids=["seg_1"], category="ACTION"),
    ActivityQuery(occurred_after=START + timedelta(seconds=1), occurred_before=START + timedelta(seconds=2)),
    ActivityQuery(recorded_after=START + timedelta(seconds=1), recorded_before=START + timedelta(seconds=3)),
    ActivityQuery(event_types=["purchase"]),
    ActivityQuery(pass_id="pass_1", except_event_types=["purchase", "visit"]),
    ActivityQuery(event_types=["purchase", "visit"], sources=["till"]),
    ActivityQuery(sources=["till", "crm"], causes=["EVENT"]),
    ActivityQuery(causes=["TIME", "MANUAL"]),
    ActivityQuery(metadata=[Condition("store", Operator.EQ, "north")]),
    ActivityQuery(metadata=[Condition("store", Operator.NE, "north")]),
    ActivityQuery(metadata=[Condition("store.city", Operator.EQ, "Bern")]),
    ActivityQuery(metadata=[Condition("store.city", Operator.NOT_EXISTS)]),
    ActivityQuery(metadata=[Condition("stars", Operator.GTE, 4), Condition("store", Operator.EXISTS)], sources=["crm"]),
    ActivityQuery(metadata=[Condition("lines.0.sku", Operator.IN, ("a", "b"))]),
)

METADATA: tuple[dict[str, object], ...] = (
    {},
    {"store": "north", "stars": 4},
    {"store": {"city": "Bern"}, "stars": 5},
    {"store.city": "Bern"},
    {"store": "south", "lines": [{"sku": "b"}, {"sku": "c"}]},
    {"store.city": "Basel", "store": ["north"]},
)


def data_of(number: int) -> dict[str, object]:
    """Return data without an event, with an event, or with one that was removed."""
    if number % 3 == 0:
        return {} if number % 2 else {"event": {"id": f"event_{number}", "removed": True}}
    event: dict[str, object] = {"id": f"event_{number}", "type": ("purchase", "visit", "login")[number % 5 % 3]}
    return {"event": event | {"source": ("till", "crm")[number % 7 % 2], "metadata": METADATA[number % len(METADATA)]}}


async def test_streams_and_lists_return_the_same_activities_for_a_filter(business: Business) -> None:
    log: list[Activity] = []
    for number in range(1, 200):
        kind = (CREATED, ENTERED, LEFT)[number % 3]
        log.append(
            activity(
                number,
                type=kind,
                category=category_of(kind),
                pass_id=f"pass_{number % 2 + 1}",
                segment_id=(None, "seg_1", "seg_2")[number % 5 % 3],
                silent=number % 7 == 0,
                historical=number % 11 == 0,
                occurred_at=START + timedelta(seconds=number % 4),
                recorded_at=START + timedelta(seconds=number % 5),
                cause=({}, {"kind": "EVENT"}, {"kind": "TIME"})[number % 4 % 3],
                data=data_of(number),
            )
        )
    await business.ctx.workspace.activities.append(log)
    sent = {entry.position: entry.data for entry in log}
    for query in QUERIES:
        listed = await business.ctx.workspace.activities.page(query, PageRequest(1_000))
        assert [entry.position for entry in listed.items] == [entry.position for entry in log if query.matches(entry)]
        assert listed.items
        assert {entry.position: entry.data for entry in listed.items}.items() <= sent.items()


def test_match_none_matches_no_activity() -> None:
    assert not match_none(activity(1))


async def test_buffer_holds_no_data_of_a_pass_after_its_erasure(business: Business) -> None:
    """WH1-22: followers that read the buffer later receive the activities of the pass without their data."""
    log = [
        activity(1, data={"name": "Ann"}),
        activity(2, pass_id="pass_2", data={"name": "Bob"}),
        activity(3, type=DELETED),
    ]
    feed = Feed(business.ctx.resources.bus)
    async with follow(business, feed, 0) as early:
        await anext(early)
        await business.ctx.workspace.activities.append(log)
        assert await read_positions(early, 3) == [1, 2, 3]
        async with follow(business, feed, 0) as late:
            await anext(late)
            message = await anext(late)
            assert isinstance(message, FeedEntries)
            assert [entry.data for entry in message.activities] == [ERASED_DATA, {"name": "Bob"}, ERASED_DATA]
