"""Freshness of an aggregation: what was requested and is not in the answer yet."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import strawberry

from app.domain.rollups import selections
from app.domain.values.instants import from_ms
from app.graphql.context import Info
from app.graphql.types.selections import is_selected
from app.store.workspace.removals import PendingRemovals


@strawberry.type
class Freshness:
    """How current an answer is.

    `aggregateEvents` reads the events themselves, so its answers include every recorded event. They still include
    events whose removal was requested and is not finished.
    """

    as_of: datetime = strawberry.field(description="Instant of the query.")
    computed_through: datetime = strawberry.field(
        description="Instant up to which the answer includes everything that was recorded or requested. Equals `asOf` "
        "unless a removal is pending."
    )
    pending_events: int = strawberry.field(
        description="Number of requested changes that the answer does not include yet: removals of events, erasures and "
        "merges of passes. A job of `deleteEvents` counts as one until it has ended. At most 10,000 of each kind are "
        "counted. Usually 0."
    )
    exact: bool = strawberry.field(
        description="Whether `pendingEvents` is 0. While it is false, the answer may still include removed events."
    )
    error: Decimal | None = strawberry.field(
        default=None,
        description="Relative error that an estimate is expected to stay within, for example 0.02 for 2 %. Null for answers "
        "that are no estimates.",
    )


async def read_freshness(info: Info, now: datetime) -> Freshness:
    """Return the freshness of an answer whose events are read after this call.

    Two round trips if the operation selects `freshness`; none otherwise.
    """
    pending = PendingRemovals(0, None)
    if is_selected(info, "freshness"):
        pending = await info.context.workspace.removals.pending()
    through = now if pending.oldest_at is None else min(now, pending.oldest_at) - timedelta(milliseconds=1)
    return Freshness(as_of=now, computed_through=through, pending_events=pending.number, exact=pending.number == 0)


def freshness_of(freshness: selections.Freshness) -> Freshness:
    """Return the GraphQL object of the freshness of rows."""
    return Freshness(
        as_of=from_ms(freshness.as_of_ms),
        computed_through=from_ms(freshness.computed_through_ms),
        pending_events=freshness.pending_events,
        exact=freshness.exact,
        error=freshness.error,
    )
