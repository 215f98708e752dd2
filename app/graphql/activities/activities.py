"""Activities: the feed of a workspace as a type and a list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.domain import activities as domain
from app.domain.activity_queries import ActivityQuery
from app.domain.values.cursors import ACTIVITY, encode_cursor, parse_feed_cursor
from app.domain.values.decimals import plain
from app.graphql.context import Info, RequestContext
from app.graphql.types.consistency import Consistency, ConsistencyArgument, TokenArgument, await_consistency
from app.graphql.types.enums import ActivityCategory
from app.graphql.types.filters import ActivityFilter, include_merged_passes, parse_activity_filter
from app.graphql.types.ids import to_global_id
from app.graphql.types.node import Node, fetch_node, fetcher
from app.graphql.types.paging import After, Before, Connection, Edge, First, Last, Pagination
from app.graphql.types.scalars import JSON, BigInt
from app.store.mongo.paging import Page

from .causes import ActivityCause, cause_of
from .orders import ActivityOrder, OrderArgument

if TYPE_CHECKING:
    from app.graphql.passes.passes import Pass


@strawberry.type
class Activity(Node):
    """Entry of the feed, which lists what happened to the passes of a workspace."""

    type: str = strawberry.field(
        description="Type of the activity, such as `customer.custom_event`, `customer.segment.entered` or "
        '`customer.redemption.succeeded`. The page "Activity types" lists all of them. `customer.rule.fired` is left out '
        "unless a filter names it. An event is `customer.updated` if it changes a field, and `customer.custom_event` if it "
        "has no activity type of its own. An event that adds points is a second activity too: `points_added`, directly "
        "after its own."
    )
    category: ActivityCategory = strawberry.field(
        description="Whether the activity happened outside of Punchcard or was derived by Punchcard."
    )
    occurred_at: datetime = strawberry.field(
        description="Exact instant at which the activity happened, even if a worker found it later."
    )
    recorded_at: datetime = strawberry.field(description="Instant at which a worker found the activity.")
    sequence: BigInt = strawberry.field(
        description="Position in the feed of the workspace: 1, 2, 3 and so on, without gaps."
    )
    pass_sequence: int = strawberry.field(
        description="Number of the activity on the pass that it happened to: 1, 2, 3 and so on, without gaps."
    )
    cursor: str = strawberry.field(
        description="Cursor of the activity in the feed. It is the same in queries, subscriptions, webhooks and "
        "exports."
    )
    cause: ActivityCause | None = strawberry.field(
        description="Cause of the activity. Null for the creation and the erasure of a pass."
    )
    data: JSON = strawberry.field(
        description="Details as a JSON object, as they were when the activity was published. `customer`: the customer. "
        "For an event: `event`. "
        "For an entry or exit: `segment`, with the measured values `before` and `after`. For a change of the tier: "
        "`change`, with the tiers `before` and `after` and the measured `values`. For expired "
        'points: `points` and `balance`. After the erasure of the pass: only `{"erased": true}`.'
    )
    pass_id: strawberry.Private[str]
    corrected: strawberry.Private[int | None]
    """The number of the activity, of the same pass, that this one takes back."""

    @strawberry.field
    async def correction_of(self, info: Info) -> Annotated[Activity, strawberry.lazy(__name__)] | None:
        """Entry into a segment that this exit takes back, because an event was late, corrected or removed.

        Null for every other activity, and if the entry was removed with the front of the feed.
        """
        if self.corrected is None:
            return None
        found = await info.context.load.numbered_activities.load((self.pass_id, self.corrected))
        return None if found is None else activity_of(found)

    @strawberry.field(
        name="pass",
    )
    async def card(self, info: Info) -> Annotated[Pass, strawberry.lazy("app.graphql.passes.passes")] | None:
        """Pass of the activity; after a merge, the pass that remains. Null if the pass was erased."""
        return await fetch_node(info.context, "Pass", self.pass_id)  # type: ignore[no-any-return]


ActivityEdge = Edge[Activity]


class _FeedPagination(Pagination[domain.Activity]):
    """Paging of the feed, whose cursors name the epoch of their activity."""

    def cursor(self, item: domain.Activity) -> str:
        """Return the cursor of an activity."""
        return item.cursor


listing = _FeedPagination(ACTIVITY, (int,), lambda activity: (activity.position,))


def activity_of(activity: domain.Activity) -> Activity:
    """Return the GraphQL object of an activity."""
    return Activity(
        id=strawberry.ID(to_global_id("Activity", activity.id)),
        type=activity.type,
        category=ActivityCategory(activity.category),
        occurred_at=activity.occurred_at,
        recorded_at=activity.recorded_at,
        sequence=BigInt(activity.position),
        pass_sequence=activity.pass_sequence,
        cursor=activity.cursor,
        cause=cause_of(activity.cause),
        data=JSON(_to_json(activity.data)),
        pass_id=activity.pass_id,
        corrected=activity.entered if activity.late and "event" in activity.cause else None,
    )


def _to_json(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in value]
    return plain(value) if isinstance(value, Decimal) else value


@fetcher("Activity")
async def fetch_activity(context: RequestContext, activity_id: str) -> Activity | None:
    """Return the activity with this database id, or None."""
    activity = await context.load.activities.load(activity_id)
    return None if activity is None else activity_of(activity)


FilterArgument = Annotated[
    ActivityFilter | None,
    strawberry.argument(
        description="Selection of the activities. Default: all, without entries and exits caused by a change of a "
        "segment with `notify: SILENT`. Subscriptions also leave out activities of imported events by "
        "default."
    ),
]


async def list_activities(
    info: Info,
    filter: FilterArgument = None,
    order_by: OrderArgument = ActivityOrder.OLDEST_FIRST,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
    consistency: ConsistencyArgument = Consistency.EVENTUAL,
    token: TokenArgument = None,
) -> Connection[Activity]:
    """List the activities of the workspace in the order of the feed, or newest first. Needs the scope `read`."""
    await await_consistency(info, consistency, token, until_published=True)
    query = await include_merged_passes(info.context, parse_activity_filter(filter, historical=True))
    return await activities_page(info, query, order_by, first, after, last, before)


async def activities_page(
    info: Info,
    query: ActivityQuery | None,
    order: ActivityOrder,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> Connection[Activity]:
    """Return a page of the activities that match a query; an empty page for None. Cursors are the same in both orders."""
    after = None if after is None else await _without_epoch(info.context, after, "after")
    before = None if before is None else await _without_epoch(info.context, before, "before")
    span = listing.span(first, after, last, before)
    store = info.context.workspace.activities
    if query is None:
        return listing.connection(Page([], False), span, activity_of, _count_nothing)
    counted = query
    text = repr(query)

    async def count() -> int:
        return await info.context.read_once(info, ("count of activities", text), lambda: store.count(counted))

    # Activities before the front are being deleted: without this bound, a page might end among them.
    front = (await info.context.workspace.log_history()).front
    newest_first, bounded = order is ActivityOrder.NEWEST_FIRST, span
    if front and newest_first and span.before is None:
        bounded = replace(span, before=(front,))
    elif front and not newest_first and span.after is None:
        bounded = replace(span, after=(front,))

    async def read() -> Page[domain.Activity]:
        is_whole = newest_first and counted.pass_id is None and bounded.after is None
        newest = await info.context.workspace.last_position() if is_whole else None
        return await store.page(counted, bounded, newest_first=newest_first, newest=newest)

    page = await info.context.read_once(info, ("activities", text, bounded, order), read)
    return listing.connection(page, span, activity_of, count)


async def _without_epoch(context: RequestContext, text: str, field: str) -> str:
    """Return a cursor of the first epoch with the position of this one. Raises InvalidInput and ExpiredCursor."""
    return encode_cursor(ACTIVITY, await context.workspace.position_after(parse_feed_cursor(text, field), field))


async def _count_nothing() -> int:
    return 0
