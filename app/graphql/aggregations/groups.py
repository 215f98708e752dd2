"""Groups of an aggregation, as GraphQL types."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import strawberry

from app.domain.state.aggregations import (
    Group,
)
from app.domain.values.periods import Weekday
from app.graphql.context import Info
from app.graphql.passes.passes import Pass
from app.graphql.types.comparisons import ValueChange
from app.graphql.types.enums import EventCategory
from app.graphql.types.node import fetch_node
from app.graphql.types.paging import PageInfo, Pagination
from app.graphql.types.scalars import JSON


@strawberry.type
class AggregateGroup:
    """Events of one group, with the value of the function."""

    value: Decimal | None = strawberry.field(description="Value of the function over the events of the group.")
    count: int = strawberry.field(
        description="Number of events that the function counts. Events without the field do not count."
    )
    type: str | None = strawberry.field(description="Type of the events. Null unless `groupBy` has `TYPE`.")
    category: EventCategory | None = strawberry.field(
        description="Category of the events. Null unless `groupBy` has `CATEGORY`."
    )
    source: str | None = strawberry.field(description="Source of the events. Null unless `groupBy` has `SOURCE`.")
    currency: str | None = strawberry.field(
        description="Currency of the events. Null unless `groupBy` has `CURRENCY`, and for events without an amount."
    )
    from_at: datetime | None = strawberry.field(
        name="from", description="Start of the period, inclusive. Null unless `groupBy` has a period."
    )
    to_at: datetime | None = strawberry.field(
        name="to", description="End of the period, exclusive. Null unless `groupBy` has a period."
    )
    weekday: Weekday | None = strawberry.field(
        description="Day of the week. Null unless `groupBy` has `WEEKDAY` or `WEEKDAY_AND_HOUR`."
    )
    hour: int | None = strawberry.field(
        description="Hour of the day, 0 to 23. Null unless `groupBy` has `HOUR` or `WEEKDAY_AND_HOUR`."
    )
    metadata: JSON | None = strawberry.field(
        description="Values of the metadata by path, each a text, a number, true, false or null. Null without "
        "`groupByMetadata`."
    )
    comparison: ValueChange | None = strawberry.field(
        description="Change of the value since the same group of the earlier period. Days, weeks and longer periods are "
        "compared by their number in the period. Null without `compareTo`, or without such a group."
    )
    pass_id: strawberry.Private[str | None]

    @strawberry.field(
        name="pass",
    )
    async def card(self, info: Info) -> Pass | None:
        """Pass of the events. Null unless `groupBy` has `PASS`."""
        if self.pass_id is None:
            return None
        card: Pass | None = await fetch_node(info.context, "Pass", self.pass_id)
        return card


NumberedGroup = tuple[int, Group]
"""Index of a group in the requested order, and the group."""
listing: Pagination[NumberedGroup] = Pagination("group", (int,), lambda item: (item[0],))


@strawberry.type
class AggregateGroups:
    """Page of groups."""

    nodes: list[AggregateGroup] = strawberry.field(description="Groups of the page.")
    page_info: PageInfo = strawberry.field(description="Position of the page among the groups.")
    total_count: int = strawberry.field(description="Number of groups, up to the limit of `orderBy`.")
