"""The feed of a workspace as a stream: activities as they are published, heartbeats between them, and its ends."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Annotated

import strawberry

from app.domain.activity_queries import ActivityQuery, match_none
from app.domain.errors import Code, ExpiredCursor, InvalidInput, Unavailable
from app.domain.log_history import LogHistory
from app.domain.values.cursors import FeedCursor, parse_feed_cursor
from app.feed.tailer import FeedEntries, FeedExpired, FeedLagged
from app.graphql.context import Info, RequestContext
from app.graphql.types.filters import include_merged_passes, parse_activity_filter
from app.graphql.types.own_objects import own_activities, sees_segment_of
from app.graphql.types.scalars import BigInt

from .activities import ActivityEdge, FilterArgument, activity_of


@strawberry.type
class Heartbeat:
    """Message without an activity: it shows that the stream works and moves the cursor forward."""

    cursor: str = strawberry.field(
        description="Cursor up to which the feed was read. Pass it as `after` when you reconnect."
    )


@strawberry.type
class CursorExpired:
    """Message that the feed does not continue after the cursor in `after`. The stream ends with it.

    Either the front of the feed was removed, or the data was restored from a backup that is older than the cursor.
    """

    oldest_cursor: str = strawberry.field(
        description="Cursor after which to continue. After a restore, it is the end of what the backup contains: later "
        "activities that you have seen are lost, and others take their positions."
    )


@strawberry.type
class Lagged:
    """Message that the client reads more slowly than activities arrive.

    Nothing is lost: the stream continues from the stored feed.
    """

    cursor: str = strawberry.field(
        description="Cursor of the last entry that the stream has read. The stream continues after it."
    )
    behind: BigInt = strawberry.field(
        description="Number of activities of the workspace after the cursor, including those that the filter leaves "
        "out."
    )


ActivityMessage = Annotated[
    ActivityEdge | Heartbeat | Lagged | CursorExpired,
    strawberry.union("ActivityMessage", description="Message of the activity stream."),
]

MAX_MESSAGES = 100_000


async def follow_activities(
    info: Info,
    filter: FilterArgument = None,
    after: Annotated[
        str | None,
        strawberry.argument(
            description="Cursor after which the stream starts: it sends what follows and then continues live. Default: "
            "only new activities."
        ),
    ] = None,
    first: Annotated[
        int | None,
        strawberry.argument(
            description="Number of messages after which the stream ends, the first `Heartbeat` included: 1 to "
            f"{MAX_MESSAGES:,}. Default: no end."
        ),
    ] = None,
) -> AsyncGenerator[ActivityMessage, None]:
    """Follow the activities of the workspace: the feed as it grows. Needs the scope `subscribe`.

    The stream begins at once with a `Heartbeat`, whose cursor is where the stream starts. Then it sends each matching
    activity once and in order, as an `ActivityEdge`. After 10 seconds without one, it sends another `Heartbeat`.
    Punchcard disconnects a client that reads nothing for 30 seconds. The client reconnects with its last cursor as
    `after` and misses nothing.
    """
    # Check the arguments before the stream exists, so that a wrong argument is an error at the field.
    query = await include_merged_passes(info.context, parse_activity_filter(filter, historical=False))
    query = await own_activities(info.context, query, is_live=True)
    after = info.context.resume_after or after
    start = None if after is None else parse_feed_cursor(after, "after")
    if first is not None and not 1 <= first <= MAX_MESSAGES:
        raise InvalidInput(Code.OUT_OF_RANGE, f"`first` must be between 1 and {MAX_MESSAGES:,}.", "first")
    messages = _messages(info.context, start, query)
    return messages if first is None else _take_first(messages, first)


async def _take_first(
    messages: AsyncGenerator[ActivityMessage, None], count: int
) -> AsyncGenerator[ActivityMessage, None]:
    async with contextlib.aclosing(messages):
        async for message in messages:
            yield message
            count -= 1
            if not count:
                return


async def _messages(
    context: RequestContext, start: FeedCursor | None, query: ActivityQuery | None
) -> AsyncGenerator[ActivityMessage, None]:
    workspace, history = context.workspace, LogHistory()
    matches = match_none if query is None else query.matches
    pass_ids = () if query is None or query.pass_id is None else (query.pass_id, *query.aliases)
    try:
        after = None if start is None else await workspace.position_after(start, "after")
    except ExpiredCursor as expired:
        yield CursorExpired(oldest_cursor=expired.oldest_cursor)
        return
    messages = context.feed.follow(workspace, after, matches, context.heartbeat_seconds, pass_ids=pass_ids)
    async for message in messages:
        if isinstance(message, FeedEntries) and message.activities:
            for activity in message.activities:
                context.reset_loaders()
                if not await sees_segment_of(context, activity):
                    continue
                context.cursor = activity.cursor
                yield ActivityEdge(cursor=context.cursor, node=activity_of(activity))
            continue
        before, history = history, await _read_history(context, history)
        resume = message.pos if isinstance(message, FeedExpired) else None
        if context.cursor is not None and before.restores != history.restores:
            # The data was restored from a backup while the stream ran.
            resume = history.find_resume(parse_feed_cursor(context.cursor))
        if resume is not None:
            context.cursor = None
            yield CursorExpired(oldest_cursor=str(history.cursor_at(resume)))
            return
        context.cursor = str(history.cursor_at(message.pos))
        if isinstance(message, FeedLagged):
            yield Lagged(cursor=context.cursor, behind=BigInt(message.by))
        else:
            yield Heartbeat(cursor=context.cursor)


async def _read_history(context: RequestContext, known: LogHistory) -> LogHistory:
    """Return the history of the log; the given one if the store does not answer, since a stream survives that."""
    try:
        return await context.workspace.log_history()
    except Unavailable:
        return known
