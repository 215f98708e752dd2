"""Input of aggregateEvents: the function, the events and the groups."""

from __future__ import annotations

import strawberry

from app.domain.insights.comparisons import Comparison
from app.domain.state.aggregations import Function, GroupBy
from app.domain.state.ranking import GroupOrder
from app.graphql.passes.statistics import TimeWindow
from app.graphql.types.consistency import Consistency
from app.graphql.types.enums import EventCategory, describe_enum
from app.graphql.types.filters import MetadataCondition
from app.graphql.types.scalars import RawDateTime, RawDecimal

MAX_GROUPS = 10_000
MAX_EVENTS_READ = 50_000
"""Events that one aggregation over a metadata field reads. The store may not read such values as exact numbers."""

AggregateFunction = Function
describe_enum(
    AggregateFunction,
    "AggregateFunction",
    {
        "COUNT": "Number of events.",
        "SUM": "Exact sum of the field. In a sum of amounts, refunds and credits subtract unless `gross` is true, and the "
        "new totals of checkouts add nothing: what they change is a transaction of its own. With the category "
        "`TRANSACTION`, the sum is the spend of `Pass.statistics`.",
        "AVG": "Average of the values of the field, rounded half-even to 6 decimal places. "
        "Amounts count as recorded: refunds are positive.",
        "MIN": "Least value of the field. Amounts count as recorded: refunds are positive.",
        "MAX": "Greatest value of the field. Amounts count as recorded: refunds are positive.",
        "COUNT_PASSES": "Number of different passes that have a matching event.",
    },
)
AggregateGroupBy = GroupBy
describe_enum(
    AggregateGroupBy,
    "AggregateGroupBy",
    {
        "PASS": "One group for each pass.",
        "TYPE": "One group for each event type.",
        "CATEGORY": "One group for each event category.",
        "SOURCE": "One group for each source.",
        "CURRENCY": "One group for each currency, and one for events without an amount.",
        "DAY": "One group for each day, by `occurredAt` in the time zone.",
        "WEEK": "One group for each week in the time zone. Weeks begin on the first day of the week of the workspace.",
        "MONTH": "One group for each month in the time zone.",
        "QUARTER": "One group for each quarter in the time zone.",
        "YEAR": "One group for each year in the time zone.",
        "WEEKDAY": "One group for each day of the week in the time zone, from Monday on.",
        "HOUR": "One group for each hour of the day in the time zone, 0 to 23.",
        "WEEKDAY_AND_HOUR": "One group for each hour of each day of the week in the time zone.",
    },
)


AggregateOrder = GroupOrder
describe_enum(
    AggregateOrder,
    "AggregateOrder",
    {
        "KEY": "By the values of the dimensions, ascending, in the order of `groupBy`.",
        "VALUE": "By the value of the function, greatest first.",
        "VALUE_ASC": "By the value of the function, least first.",
    },
)


@strawberry.input
class AggregateHaving:
    """Bounds of the values of groups. A group must satisfy both."""

    gte: RawDecimal | None = strawberry.field(default=None, description="Least value, inclusive. Default: no bound.")
    lte: RawDecimal | None = strawberry.field(default=None, description="Greatest value, inclusive. Default: no bound.")


@strawberry.input
class AggregateInput:
    """Function to compute, with the events that it covers.

    An event must satisfy every condition that is given. Lists have at most 50 items.
    """

    function: AggregateFunction = strawberry.field(description="Function to compute.")
    field: str | None = strawberry.field(
        default=None,
        description='Value that the function works on: "amount", "points" or "metadata.<path>". Default: "amount". '
        "Leave it out for `COUNT` and `COUNT_PASSES`. Events without the value do not count. In metadata, "
        "text that is a number counts too, the numbers of all elements of a list count, and at most "
        f"{MAX_EVENTS_READ:,} events may have the value.",
    )
    pass_id: strawberry.ID | None = strawberry.field(
        default=None,
        description="Events on this pass. After a merge, the id of either pass selects the events of both. Default: all "
        "passes. No event is on a pass that does not exist.",
    )
    categories: list[EventCategory] | None = strawberry.field(
        default=None, description="Events of one of these categories. Default: all."
    )
    types: list[str] | None = strawberry.field(
        default=None,
        description="Events of one of these types. Default: all. Changes that `updatePass` records are never included.",
    )
    sources: list[str] | None = strawberry.field(
        default=None, description="Events from one of these sources. Default: all."
    )
    currency: str | None = strawberry.field(
        default=None,
        description="Events with an amount in this currency: a code of ISO 4217. Default: the currency of the "
        "workspace if the function works on amounts and `groupBy` has no `CURRENCY`, else any. Currencies "
        "are never mixed.",
    )
    metadata: list[MetadataCondition] | None = strawberry.field(
        default=None, description="Events whose metadata satisfies all of these conditions."
    )
    time_window: TimeWindow | None = strawberry.field(
        default=None,
        description="Time that the events must have occurred in. Default: all time. Do not combine it with `from` and "
        "`to`.",
    )
    from_at: RawDateTime | None = strawberry.field(
        name="from", default=None, description="Events that occurred at this instant or later. Default: no lower bound."
    )
    to_at: RawDateTime | None = strawberry.field(
        name="to", default=None, description="Events that occurred before this instant. Default: no upper bound."
    )
    timezone: str | None = strawberry.field(
        default=None,
        description="IANA time zone of calendar windows and periods. Default: the time zone of the workspace.",
    )
    group_by: list[AggregateGroupBy] | None = strawberry.field(
        default=None,
        description="Dimensions of the groups: at most 3, each once. At most one of `DAY` to `YEAR`, and at most one of "
        "`WEEKDAY`, `HOUR` and `WEEKDAY_AND_HOUR`. The values are in `groups`.",
    )
    group_by_metadata: list[str] | None = strawberry.field(
        default=None,
        description="Paths of the metadata to group by, for example `store.city`: at most 3 dimensions with those of "
        "`groupBy`. An event counts in the group of each different value at the path; without a value, in the group "
        f"whose value is null. At most {MAX_EVENTS_READ:,} events may match, unless rollups give the answer: with one path, "
        "which is a dimension of the one type in `types`, and without `sources`, `SOURCE` and `metadata`.",
    )
    having: AggregateHaving | None = strawberry.field(
        default=None,
        description="Bounds of the values of groups. Other groups are left out of `groups`. Default: none.",
    )
    compare_to: Comparison | None = strawberry.field(
        default=None,
        description="Earlier period to compare with, in `comparison` of the answer and of each group. The question needs a "
        "start: `from`, or a `timeWindow`. Default: none.",
    )
    order_by: AggregateOrder = strawberry.field(
        default=AggregateOrder.KEY,
        description=f"Order of the groups. Default: `KEY`. With more than {MAX_GROUPS:,} groups, `VALUE` returns the "
        f"greatest {MAX_GROUPS:,}, and `VALUE_ASC` the least. `KEY` fails, and so do all orders with `AVG` or "
        "`groupByMetadata`.",
    )
    first: int | None = strawberry.field(
        default=None, description="Number of groups to return: 0 to 250. Default: 50. Arguments of `groups` replace it."
    )
    after: str | None = strawberry.field(
        default=None, description="Cursor. The groups begin with the first one after it."
    )
    consistency: Consistency = strawberry.field(
        default=Consistency.EVENTUAL,
        description="How current the answer must be. The answer is always current, so every value gives the same "
        "answer. Default: `EVENTUAL`.",
    )
    token: str | None = strawberry.field(
        default=None,
        description="Token of a receipt whose events the answer must include. Required with `AT_LEAST`, ignored "
        "otherwise.",
    )
    gross: bool = strawberry.field(
        default=False,
        description="Whether refunds and credits add to a sum of amounts instead of subtracting. A checkout "
        "counts with its last total in both sums. Default: false.",
    )
