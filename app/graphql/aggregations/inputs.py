"""What aggregateEvents is asked: the function, which events, by which groups."""

from __future__ import annotations

from enum import StrEnum

import strawberry

from app.domain.state.aggregations import Function, GroupBy
from app.graphql.passes.statistics import TimeWindow
from app.graphql.types.consistency import Consistency
from app.graphql.types.enums import EventCategory, describe_enum
from app.graphql.types.filters import MetadataCondition
from app.graphql.types.scalars import RawDateTime

MAX_GROUPS = 10_000
MAX_EVENTS_READ = 50_000
"""Events read for a field of the metadata, whose values the store cannot be trusted to read as exact numbers."""

AggregateFunction = Function
describe_enum(
    AggregateFunction,
    "AggregateFunction",
    {
        "COUNT": "How many events.",
        "SUM": "The exact sum of the field. Of amounts, refunds and credits subtract unless `gross` is true.",
        "AVG": "The average of the field over the events that have it, half-even to 6 places; amounts as recorded.",
        "MIN": "The least value of the field; amounts as recorded.",
        "MAX": "The greatest value of the field; amounts as recorded.",
        "COUNT_PASSES": "How many passes have such an event.",
    },
)
AggregateGroupBy = GroupBy
describe_enum(
    AggregateGroupBy,
    "AggregateGroupBy",
    {
        "PASS": "The pass.",
        "TYPE": "The type.",
        "CATEGORY": "The category.",
        "SOURCE": "The source.",
        "CURRENCY": "The currency.",
        "DAY": "The day they occurred, in the time zone.",
        "WEEK": "The week, beginning as the workspace's weeks do.",
        "MONTH": "The month.",
        "QUARTER": "The quarter.",
        "YEAR": "The year.",
    },
)


class AggregateOrder(StrEnum):
    """The order of the groups."""

    KEY = "KEY"
    VALUE = "VALUE"


describe_enum(
    AggregateOrder,
    "AggregateOrder",
    {"KEY": "By what they have in common.", "VALUE": "The greatest value first."},
)


@strawberry.input
class AggregateInput:
    """What to work out, and over which events."""

    function: AggregateFunction = strawberry.field(description="What to work out.")
    field: str | None = strawberry.field(
        default=None,
        description="`amount` (if omitted), `points` or `metadata.<path>`; none for counts. Numbers in metadata count as "
        f"they do for segments; over at most {MAX_EVENTS_READ:,} events.",
    )
    categories: list[EventCategory] | None = strawberry.field(default=None, description="Of one of these categories.")
    types: list[str] | None = strawberry.field(default=None, description="Of one of these types.")
    sources: list[str] | None = strawberry.field(default=None, description="From one of these sources.")
    currency: str | None = strawberry.field(
        default=None,
        description="With an amount in this currency. Functions of the amount take the workspace's, if it is omitted and "
        "they are not grouped by currency: currencies are never mixed.",
    )
    metadata: list[MetadataCondition] | None = strawberry.field(
        default=None, description="Whose metadata meets all these conditions."
    )
    time_window: TimeWindow | None = strawberry.field(default=None, description="Which time; all time, if omitted.")
    from_at: RawDateTime | None = strawberry.field(
        name="from", default=None, description="Occurred then or later; instead of a window."
    )
    to_at: RawDateTime | None = strawberry.field(
        name="to", default=None, description="Occurred earlier; instead of a window."
    )
    timezone: str | None = strawberry.field(
        default=None, description="The IANA zone of calendar windows and periods; the workspace's, if omitted."
    )
    group_by: list[AggregateGroupBy] | None = strawberry.field(
        default=None, description="At most three, one period among them; then `groups` has the values."
    )
    order_by: AggregateOrder = strawberry.field(
        default=AggregateOrder.KEY, description=f"The order of the groups; at most {MAX_GROUPS:,} are answered."
    )
    first: int | None = strawberry.field(default=None, description="How many groups to answer: 1 to 250.")
    after: str | None = strawberry.field(default=None, description="Begin the groups behind this cursor.")
    consistency: Consistency = strawberry.field(
        default=Consistency.EVENTUAL,
        description="How much of what was written the answer is sure to show: always all of it.",
    )
    token: str | None = strawberry.field(
        default=None, description="The token of a receipt whose events the answer is sure to show, with AT_LEAST."
    )
    gross: bool = strawberry.field(
        default=False, description="Whether refunds and credits are added to a sum of amounts, not subtracted."
    )
