"""The query eventHistogram: on which days of the week and at which hours customers come."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated

import strawberry

from app.commands.insights.reading import read_rows
from app.domain.events.event_queries import EventQuery
from app.domain.events.spend import summed_types
from app.domain.insights.histograms import Bucket, build_histogram, check_cells
from app.domain.insights.periods import Asked
from app.domain.rollups.selections import LocalClock, Selection
from app.domain.state.aggregations import Aggregation, Function, GroupBy
from app.domain.state.local_clock import clock_coordinate
from app.domain.values.currencies import parse_currency
from app.domain.values.decimals import ZERO
from app.domain.values.instants import from_ms
from app.domain.values.periods import Weekday
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.types.enums import EventCategory, describe_enum
from app.graphql.types.filters import parse_each
from app.graphql.types.freshness import Freshness, freshness_of

from .periods import ConsistentPeriodInput, may_leave_out, parse_period

describe_enum(
    LocalClock,
    "HistogramBy",
    {
        "WEEKDAY": "One bucket for each day of the week: 7 buckets.",
        "HOUR": "One bucket for each hour of the day: 24 buckets.",
        "WEEKDAY_AND_HOUR": "One bucket for each hour of each day of the week: 168 buckets.",
    },
)
_MAX_BUCKETS = 7 * 24


@strawberry.input
class EventHistogramInput(ConsistentPeriodInput):
    """Events that a histogram divides, and their period. Give a `month`, a `period`, or `from` and `to`.

    Lists have at most 50 items.
    """

    by: LocalClock = strawberry.field(description="Local time that divides the events.")
    types: list[str] | None = strawberry.field(
        default=None, description="Events of one of these types. Default: all, without events that rules made."
    )
    categories: list[EventCategory] | None = strawberry.field(
        default=None, description="Events of one of these categories. Default: all."
    )
    currency: str | None = strawberry.field(
        default=None,
        description="Currency of the revenue: a code of ISO 4217. Events in all currencies count. Default: the currency of "
        "the workspace.",
    )


@strawberry.type
class HistogramBucket:
    """Events of one day of the week, of one hour of the day, or of one hour of one day of the week."""

    weekday: Weekday | None = strawberry.field(description="Day of the week. Null by `HOUR`.")
    hour: int | None = strawberry.field(description="Hour of the day, 0 to 23. Null by `WEEKDAY`.")
    count: int = strawberry.field(description="Number of events.")
    revenue: Decimal = strawberry.field(
        description="Net revenue in the currency of the histogram. A checkout has its last total."
    )
    histogram: strawberry.Private[_Passes]

    @strawberry.field
    async def passes(self, info: Info) -> int:
        """Number of different passes with such an event. Punchcard reads the events of the period for it."""
        return await self.histogram.count(info, self.weekday, self.hour)


@strawberry.type
class EventHistogram:
    """Events of a period, divided by local time."""

    from_at: datetime = strawberry.field(name="from", description="Start of the period, inclusive.")
    to_at: datetime = strawberry.field(name="to", description="End of the period, exclusive.")
    timezone: str = strawberry.field(description="IANA time zone of days and hours.")
    currency: str = strawberry.field(description="Currency of the revenue.")
    buckets: list[HistogramBucket] = strawberry.field(
        description="All buckets in order of time, from the first day of the week of the workspace on, also empty ones."
    )
    freshness: Freshness = strawberry.field(description="How current the answer is.")


class _Passes:
    """Different passes by bucket. All buckets share one read of the store."""

    def __init__(self, query: EventQuery, by: LocalClock, asked: Asked) -> None:
        self._query = query
        self._aggregation = Aggregation(Function.COUNT_PASSES, None, (GroupBy(by.value),), zone=asked.zone)

    async def count(self, info: Info, weekday: Weekday | None, hour: int | None) -> int:
        """Return the number of passes of one bucket."""

        async def read() -> Mapping[object, int]:
            groups = await info.context.workspace.aggregations.groups(self._query, self._aggregation, _MAX_BUCKETS)
            return {group.key[0]: int(group.value or 0) for group in groups}

        found = await info.context.read_once(info, ("passes of buckets", id(self)), read)
        number = None if weekday is None else list(Weekday).index(weekday)
        return found.get(clock_coordinate(number, hour), 0)


async def event_histogram(
    info: Info, input: Annotated[EventHistogramInput, strawberry.argument(description="Events and their period.")]
) -> EventHistogram:
    """Count the events of a period by day of the week and hour of the day. Needs the scope `read`."""
    asked, commands = await parse_period(info, input), info.context.commands
    strong = not await may_leave_out(info, input)
    check_cells(asked, input.by, "input", "by")
    types = parse_each(input.types, parse_text, "input", "types")
    categories = tuple(input.categories or ())
    profile = await commands.profile()
    currency = profile.currency if input.currency is None else parse_currency(input.currency, "input", "currency")
    selection = Selection(
        asked.from_ms,
        asked.to_ms,
        types=summed_types(types),
        categories=categories,
        cells=input.by.cells,
        clock=input.by,
    )
    reading = await read_rows(commands, selection, asked.zone, strong=strong)
    query = EventQuery(
        types=types,
        categories=categories,
        occurred_after=from_ms(asked.from_ms),
        occurred_before=from_ms(asked.to_ms),
    )
    passes = _Passes(query, input.by, asked)
    buckets = await asyncio.to_thread(build_histogram, reading.rows, asked, input.by, types)
    return EventHistogram(
        from_at=from_ms(asked.from_ms),
        to_at=from_ms(asked.to_ms),
        timezone=asked.zone.key,
        currency=currency,
        buckets=[_bucket_of(each, currency, passes) for each in buckets],
        freshness=freshness_of(reading.freshness),
    )


def _bucket_of(bucket: Bucket, currency: str, passes: _Passes) -> HistogramBucket:
    weekday, hour = bucket.slot
    return HistogramBucket(
        weekday=None if weekday is None else list(Weekday)[weekday],
        hour=hour,
        count=bucket.count,
        revenue=next((row.net for row in bucket.revenue if row.currency == currency), ZERO),
        histogram=passes,
    )
