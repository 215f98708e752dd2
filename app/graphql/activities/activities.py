"""Activities: the feed as type, list and stream."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.domain import activities as domain
from app.domain.activities import ActivityQuery
from app.domain.errors import Code, InvalidInput
from app.domain.values.cursors import ACTIVITY, activity_cursor, activity_position
from app.domain.values.decimals import plain
from app.feed.tailer import FeedExpired, FeedLagged
from app.graphql.context import Info, RequestContext
from app.graphql.types.consistency import Consistency, ConsistencyArgument, TokenArgument, await_consistency
from app.graphql.types.enums import ActivityCategory
from app.graphql.types.filters import ActivityFilter, activity_query, of_whole_pass
from app.graphql.types.ids import to_global_id
from app.graphql.types.node import Node, fetch_node, fetcher
from app.graphql.types.paging import After, Before, Connection, Edge, First, Last, Pagination
from app.graphql.types.scalars import JSON, BigInt
from app.store.mongo.paging import Page

from .causes import ActivityCause, cause_of

if TYPE_CHECKING:
    from app.graphql.passes.passes import Pass


@strawberry.type
class Activity(Node):
    """A line of the feed: something that happened to a pass."""

    type: str = strawberry.field(description="The type, for example `customer.segment.entered`.")
    category: ActivityCategory = strawberry.field(description="Whether somebody did it or Punchcard derived it.")
    occurred_at: datetime = strawberry.field(description="The exact instant it happened.")
    recorded_at: datetime = strawberry.field(description="When Punchcard found it out.")
    sequence: BigInt = strawberry.field(description="The position in the workspace's feed, dense from 1.")
    pass_sequence: int = strawberry.field(description="The number within the pass, dense from 1.")
    cursor: str = strawberry.field(description="The place in the feed, to go on from; the same wherever it is read.")
    cause: ActivityCause | None = strawberry.field(description="What brought it about.")
    data: JSON = strawberry.field(
        description="What it is about, as it was then: the event, or the segment with the values measured before and "
        "after."
    )
    pass_id: strawberry.Private[str]

    @strawberry.field(
        name="pass",
    )
    async def card(self, info: Info) -> Annotated[Pass, strawberry.lazy("app.graphql.passes.passes")] | None:
        """The pass it happened to; null once that is erased."""
        return await fetch_node(info.context, "Pass", self.pass_id)  # type: ignore[no-any-return]


ActivityEdge = Edge[Activity]


@strawberry.type
class Heartbeat:
    """Nothing to show lately; the stream is alive."""

    cursor: str = strawberry.field(description="How far the feed was looked at; go on from here after a reconnect.")


@strawberry.type
class CursorExpired:
    """The feed no longer reaches back to the cursor given; the stream ends with this message."""

    oldest_cursor: str = strawberry.field(description="The oldest cursor from which the feed can still be read.")


@strawberry.type
class Lagged:
    """The stream was read too slowly to be kept up with.

    Nothing is lost: what follows comes from the log, until the reader has caught up.
    """

    cursor: str = strawberry.field(description="How far the reader is; what follows this cursor comes next.")
    behind: BigInt = strawberry.field(description="How many activities of the workspace it is behind, hidden ones too.")


ActivityMessage = Annotated[
    ActivityEdge | Heartbeat | Lagged | CursorExpired,
    strawberry.union("ActivityMessage", description="What the activity stream tells."),
]

MAX_MESSAGES = 100_000

listing = Pagination[domain.Activity](ACTIVITY, (int,), lambda activity: (activity.position,))


def activity_of(activity: domain.Activity) -> Activity:
    """The activity as it is published."""
    return Activity(
        id=strawberry.ID(to_global_id("Activity", activity.id)),
        type=activity.type,
        category=ActivityCategory(activity.category),
        occurred_at=activity.occurred_at,
        recorded_at=activity.recorded_at,
        sequence=BigInt(activity.position),
        pass_sequence=activity.pass_sequence,
        cursor=activity_cursor(activity.position),
        cause=cause_of(activity.cause),
        data=JSON(_json(activity.data)),
        pass_id=activity.pass_id,
    )


def _json(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    return plain(value) if isinstance(value, Decimal) else value


@fetcher("Activity")
async def fetch_activity(context: RequestContext, activity_id: str) -> Activity | None:
    """The activity of a database id, or None."""
    found = await context.load.activities.load(activity_id)
    return None if found is None else activity_of(found)


FilterArgument = Annotated[
    ActivityFilter | None,
    strawberry.argument(description="Which activities; all that are not silent, if omitted."),
]


async def list_activities(
    info: Info,
    filter: FilterArgument = None,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
    consistency: ConsistencyArgument = Consistency.EVENTUAL,
    token: TokenArgument = None,
) -> Connection[Activity]:
    """The feed of the workspace, in its order: the oldest first."""
    await await_consistency(info, consistency, token, told=True)
    query = await of_whole_pass(info.context, activity_query(filter, historical=True))
    return await activities_page(info, query, first, after, last, before)


async def activities_page(
    info: Info, query: ActivityQuery | None, first: int | None, after: str | None, last: int | None, before: str | None
) -> Connection[Activity]:
    """A page of the activities that a query finds; None finds none."""
    span = listing.span(first, after, last, before)
    store = info.context.workspace.activities
    if query is None:
        return listing.connection(Page([], False), span, activity_of, _none)
    asked = query
    return listing.connection(await store.page(asked, span), span, activity_of, lambda: store.count(asked))


async def follow_activities(
    info: Info,
    filter: FilterArgument = None,
    after: Annotated[
        str | None,
        strawberry.argument(description="Replay from behind this cursor, then go on live; omitted: only what is new."),
    ] = None,
    first: Annotated[
        int | None,
        strawberry.argument(
            description="End the stream after this many messages, the first Heartbeat included: 1 to 100,000."
        ),
    ] = None,
) -> AsyncGenerator[ActivityMessage, None]:
    """The feed as it grows: first a Heartbeat with the cursor where the stream starts, then each activity once, in
    order, and a Heartbeat when there was nothing to show for a while. Who reads too slowly is told by a Lagged, and
    misses nothing; who reads nothing for half a minute is disconnected, and goes on from a cursor.
    """
    # Arguments are judged before there is a stream, so that what is wrong with them is an error at the field.
    query = await of_whole_pass(info.context, activity_query(filter, historical=False))
    shown = domain.match_none if query is None else query.matches
    after = info.context.resume_after or after
    start = None if after is None else activity_position(after, "after")
    if first is not None and not 1 <= first <= MAX_MESSAGES:
        raise InvalidInput(Code.OUT_OF_RANGE, f"Between 1 and {MAX_MESSAGES}.", "first")
    messages = _messages(info.context, start, shown)
    return messages if first is None else _first(messages, first)


async def _first(messages: AsyncGenerator[ActivityMessage, None], count: int) -> AsyncGenerator[ActivityMessage, None]:
    async with contextlib.aclosing(messages):
        async for message in messages:
            yield message
            count -= 1
            if not count:
                return


async def _messages(
    context: RequestContext, start: int | None, shown: Callable[[domain.Activity], bool]
) -> AsyncGenerator[ActivityMessage, None]:
    async for message in context.feed.follow(context.workspace, start, shown, context.heartbeat_seconds):
        if isinstance(message, FeedExpired):
            context.cursor = None
            yield CursorExpired(oldest_cursor=activity_cursor(message.pos))
            return
        if isinstance(message, FeedLagged):
            context.cursor = activity_cursor(message.pos)
            yield Lagged(cursor=context.cursor, behind=BigInt(message.by))
            continue
        for found in message.activities:
            context.renew()
            context.cursor = activity_cursor(found.position)
            yield ActivityEdge(cursor=context.cursor, node=activity_of(found))
        if not message.activities:
            context.cursor = activity_cursor(message.pos)
            yield Heartbeat(cursor=context.cursor)


async def _none() -> int:
    return 0
