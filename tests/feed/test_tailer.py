"""The feed as a live stream: nothing lost, nothing doubled, at the seam, behind the buffer, without Redis."""

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
    EMPTIED,
    ENTERED,
    LEFT,
    Activity,
    ActivityQuery,
    category_of,
    match_none,
)
from app.domain.errors import InvalidInput
from app.feed import tailer as module
from app.feed.tailer import Feed, FeedEntries, FeedExpired, FeedLagged, topic
from app.resources import Resources
from app.store.mongo.paging import PageRequest
from tests.business import Business, open_business

START = datetime(2026, 1, 1, tzinfo=UTC)
QUIET = 0.1


def activity(pos: int, **parts: object) -> Activity:
    base = Activity(
        pos, pos, "pass_1", CREATED, category_of(CREATED), START + timedelta(seconds=pos), START, {}, {}, None
    )
    return replace(base, **parts)  # type: ignore[arg-type]


async def append(business: Business, first: int, last: int) -> None:
    log = [activity(pos) for pos in range(first, last + 1)]
    assert await business.ctx.workspace.activities.append(log) == len(log)
    await business.ctx.resources.bus.publish(topic(business.ctx.workspace.id), {})


@contextlib.asynccontextmanager
async def following(
    business: Business, feed: Feed, after: int | None = None, **query: object
) -> AsyncIterator[AsyncIterator[FeedEntries | FeedLagged | FeedExpired]]:
    asked = ActivityQuery(**query)  # type: ignore[arg-type]
    stream = feed.follow(business.ctx.workspace, after, asked.matches, QUIET)
    async with contextlib.aclosing(stream), asyncio.timeout(20):  # type: ignore[type-var]
        yield stream


async def taken(
    stream: AsyncIterator[FeedEntries | FeedLagged | FeedExpired], count: int, *, behind: bool = False
) -> list[int]:
    """The positions of the next `count` activities; the follower may be told meanwhile that it is `behind`."""
    found: list[int] = []
    while len(found) < count:
        message = await anext(stream)
        if behind and isinstance(message, FeedLagged):
            continue
        assert isinstance(message, FeedEntries)
        found += [entry.position for entry in message.activities]
    return found


@pytest.fixture
async def business(resources: Resources, clock: FixedClock) -> Business:
    """An empty workspace."""
    return await open_business(resources, clock)


async def test_a_stream_says_first_where_it_starts_and_then_tells_only_what_is_new(business: Business) -> None:
    await append(business, 1, 3)
    async with following(business, Feed(business.ctx.resources.bus)) as stream:
        assert await anext(stream) == FeedEntries(3)
        await append(business, 4, 5)
        assert await taken(stream, 2) == [4, 5]


async def test_a_replay_goes_over_into_live_without_a_loss_or_a_double(business: Business) -> None:
    await append(business, 1, 30)
    feed = Feed(business.ctx.resources.bus)
    async with following(business, feed, 0) as early, following(business, feed, 12) as late:
        writing = asyncio.create_task(_grow(business, 31, 90))
        assert await taken(early, 90) == list(range(1, 91))
        assert await taken(late, 78) == list(range(13, 91))
        await writing


async def _grow(business: Business, first: int, last: int) -> None:
    for pos in range(first, last + 1, 5):
        await append(business, pos, min(pos + 4, last))


async def test_a_follower_that_falls_behind_the_buffer_is_told_and_reads_the_log_until_it_meets_it(
    business: Business,
) -> None:
    """Checklist 2.9: `Lagged`."""
    feed = Feed(business.ctx.resources.bus, buffered=10)
    async with following(business, feed) as fast, following(business, feed) as slow:
        await anext(fast)
        await anext(slow)
        await append(business, 1, 8)
        assert await taken(slow, 8) == list(range(1, 9))
        await append(business, 9, 60)
        assert [entry.position for entry in await heard(fast, 60)] == list(range(1, 61))
        behind = await anext(slow)
        assert behind == FeedLagged(8, 52)
        assert await taken(slow, 52) == list(range(9, 61)), "told once, and nothing is lost"
        async with following(business, feed, 0) as late:
            assert await taken(late, 60) == list(range(1, 61)), "who replays is not slow"
        await append(business, 61, 90)
        await heard(fast, 30)
        assert await anext(slow) == FeedLagged(60, 30), "and again, having caught up"


async def heard(stream: AsyncIterator[FeedEntries | FeedLagged | FeedExpired], count: int) -> list[Activity]:
    """The next `count` activities of a follower that may fall behind while several are appended at once."""
    found: list[Activity] = []
    while len(found) < count:
        message = await anext(stream)
        found += message.activities if isinstance(message, FeedEntries) else ()
    return found


async def test_what_is_kept_for_followers_is_bounded_however_much_comes_and_however_many_workspaces(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BUFFERED_ENTRIES_TOTAL", 30)
    monkeypatch.setattr(module, "MIN_BUFFERED_ENTRIES", 5)
    feed = Feed(business.ctx.resources.bus, buffered=20)
    async with contextlib.AsyncExitStack() as streams:
        stuck = await streams.enter_async_context(following(business, feed))
        await anext(stuck)
        lively = await streams.enter_async_context(following(business, feed))
        await anext(lively)
        await append(business, 1, 300)
        await heard(lively, 300)
        assert feed.kept == feed.buffered == 20
        others = [replace(business, ctx=_elsewhere(business, number)) for number in range(3)]
        for other in others:
            stream = await streams.enter_async_context(following(other, feed))
            await anext(stream)
        await append(business, 301, 301)
        await heard(lively, 1)
        assert feed.kept == feed.buffered == 30 // 4
        assert await anext(stuck) == FeedLagged(0, 301), "and it had nothing of its own"
        monkeypatch.setattr(module, "MAX_BUFFERED_BYTES", 4 * 3 * len('{"event":"large"}'))
        large = [activity(pos, data={"event": "large"}) for pos in range(302, 320)]
        await business.ctx.workspace.activities.append(large)
        await business.ctx.resources.bus.publish(topic(business.ctx.workspace.id), {})
        await heard(lively, 18)
        assert feed.kept == 3, "a quarter of the bytes"


def _elsewhere(business: Business, number: int) -> Context:
    return replace(business.ctx, workspace=business.ctx.resources.workspace(f"ws_{number}"))


async def test_the_tick_finds_what_no_message_announced(business: Business) -> None:
    silent = Bus(business.ctx.resources.redis, "another prefix")
    async with following(business, Feed(silent, tick_seconds=0.02)) as stream:
        await anext(stream)
        await append(business, 1, 1)
        assert await taken(stream, 1) == [1]
    await silent.aclose()


async def test_heartbeats_carry_the_position_past_what_the_filter_hides(business: Business) -> None:
    async with following(business, Feed(business.ctx.resources.bus), types=[ENTERED]) as stream:
        assert await anext(stream) == FeedEntries(0)
        await append(business, 1, 5)
        message = await anext(stream)
        while message != FeedEntries(5):
            assert message == FeedEntries(0)
            message = await anext(stream)


async def test_a_position_beyond_the_log_is_refused_and_one_cut_off_expired(business: Business) -> None:
    await append(business, 1, 5)
    feed = Feed(business.ctx.resources.bus)
    with pytest.raises(InvalidInput):
        async with following(business, feed, 6) as stream:
            await anext(stream)
    await business.ctx.resources.db["activities"].delete_many({"pos": {"$lte": 3}})
    async with following(business, feed, 1) as stream:
        assert [message async for message in stream] == [FeedExpired(3)]
    async with following(business, feed, 3) as stream:
        assert await anext(stream) == FeedEntries(3)
        assert await taken(stream, 2) == [4, 5]


async def test_a_hole_is_reported_loudly_and_the_rest_told(
    business: Business, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(business, Feed(business.ctx.resources.bus)) as stream:
        await anext(stream)
        log = [activity(pos) for pos in (1, 2, 5)]
        with caplog.at_level(logging.CRITICAL, logger="app.feed.tailer"):
            await business.ctx.workspace.activities.append(log)
            await business.ctx.resources.bus.publish(topic(business.ctx.workspace.id), {})
            # A log with holes is not buffered: who had not read it yet is behind.
            assert await taken(stream, 3, behind=True) == [1, 2, 5]
    assert "[3, 4]" in caplog.text


async def test_the_tailer_runs_only_while_somebody_follows(business: Business) -> None:
    feed = Feed(business.ctx.resources.bus)
    before = asyncio.all_tasks()
    async with following(business, feed) as one, following(business, feed) as two:
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
)


async def test_streams_and_lists_agree_on_what_a_filter_shows(business: Business) -> None:
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
            )
        )
    await business.ctx.workspace.activities.append(log)
    for query in QUERIES:
        listed = await business.ctx.workspace.activities.page(query, PageRequest(1_000))
        shown = query.matches
        assert [entry.position for entry in listed.items] == [entry.position for entry in log if shown(entry)]
        assert listed.items


def test_no_query_shows_nothing() -> None:
    assert not match_none(activity(1))


async def test_what_was_known_of_an_erased_pass_is_not_told_from_the_buffer(business: Business) -> None:
    """WH1-22."""
    log = [
        activity(1, data={"name": "Ann"}),
        activity(2, pass_id="pass_2", data={"name": "Bob"}),
        activity(3, type=DELETED),
    ]
    feed = Feed(business.ctx.resources.bus)
    async with following(business, feed, 0) as early:
        await anext(early)
        await business.ctx.workspace.activities.append(log)
        assert await taken(early, 3) == [1, 2, 3]
        async with following(business, feed, 0) as late:
            await anext(late)
            message = await anext(late)
            assert isinstance(message, FeedEntries)
            assert [entry.data for entry in message.activities] == [EMPTIED, {"name": "Bob"}, EMPTIED]
