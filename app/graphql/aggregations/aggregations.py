"""The query aggregateEvents: one function over matching events, as a whole or by groups, computed from the events."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

import strawberry

from app.commands.insights.aggregations import aggregate_from_rollups
from app.domain.errors import Code, InvalidInput
from app.domain.events.event_queries import EventQuery
from app.domain.state.aggregations import (
    AMOUNT,
    COUNTS,
    METADATA,
    PERIODS,
    Aggregation,
    Function,
    Group,
    GroupBy,
    aggregate_groups,
    parse_dimensions,
    parse_field,
)
from app.domain.state.statistics import period_of
from app.domain.values.currencies import parse_currency
from app.domain.values.text import parse_text
from app.graphql.context import Info, RequestContext
from app.graphql.passes.passes import Pass
from app.graphql.passes.statistics import parse_time, zone_of
from app.graphql.plans import note_plan
from app.graphql.types.consistency import await_consistency
from app.graphql.types.enums import EventCategory
from app.graphql.types.filters import parse_each, parse_metadata_condition
from app.graphql.types.freshness import Freshness, read_freshness
from app.graphql.types.ids import database_id
from app.graphql.types.node import fetch_node
from app.graphql.types.paging import After, Before, First, Last, PageInfo, Pagination

from .inputs import MAX_EVENTS_READ, MAX_GROUPS, AggregateInput, AggregateOrder


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


@strawberry.type
class AggregateResult:
    """Answer of `aggregateEvents`."""

    value: Decimal | None = strawberry.field(
        description="Value of the function over all matching events. Null if no event counts, except for counts, "
        "which are 0. Null also if the value would mix currencies, that is, for amounts grouped by "
        "`CURRENCY` without `currency`."
    )
    count: int = strawberry.field(description="Number of events that the function counts. 0 if `value` is null.")
    currency: str | None = strawberry.field(
        description="Currency of the value. Null unless the function works on amounts, and if the value would mix "
        "currencies."
    )
    from_at: datetime | None = strawberry.field(
        name="from", description="Start of the time that the query selects, inclusive. Null if it has none."
    )
    to_at: datetime | None = strawberry.field(
        name="to", description="End of the time that the query selects, exclusive. Null if it has none."
    )
    timezone: str = strawberry.field(description="IANA time zone of calendar windows and periods.")
    freshness: Freshness = strawberry.field(description="How current the answer is.")
    question: strawberry.Private[_Question]

    @strawberry.field
    async def groups(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> AggregateGroups:
        """Values by group. Empty unless `groupBy` names a dimension.

        `first` and `after` default to those of the input.
        """
        if last is None and before is None:
            first = self.question.first if first is None else first
            after = self.question.after if after is None else after
        span = listing.span(first, after, last, before)
        groups = await self.question.compute_groups(info.context) if self.question.aggregation.group_by else []
        page = listing.paged(list(enumerate(groups)), span)
        nodes = [self.question.group_of(item) for item in page.items]
        return AggregateGroups(nodes=nodes, page_info=listing.info(page, span), total_count=len(groups))


class _Question:
    """Checked question of aggregateEvents: the events, the function, the dimensions and the order of the groups."""

    def __init__(self, query: EventQuery, aggregation: Aggregation, input: AggregateInput) -> None:
        self.query, self.aggregation, self.order = query, aggregation, input.order_by
        self.first, self.after = input.first, input.after

    async def compute_total(self, context: RequestContext) -> Group | None:
        """Return the value over all matching events; None if no event counts, or if the value would mix currencies."""
        if self.aggregation.is_money and self.query.currency is None:
            return None
        ungrouped = Aggregation(
            function=self.aggregation.function,
            field=self.aggregation.field,
            gross=self.aggregation.gross,
            zone=self.aggregation.zone,
        )
        groups = await self._compute(context, ungrouped)
        return groups[0] if groups else None

    async def compute_groups(self, context: RequestContext) -> list[Group]:
        """Return the groups in the requested order.

        Raises InvalidInput with the code LIMIT and advice if there are too many.
        """
        groups = await self._compute(context, self.aggregation)
        if self.order is AggregateOrder.VALUE:
            groups.sort(key=_by_value)
        return groups

    async def _compute(self, context: RequestContext, aggregation: Aggregation) -> list[Group]:
        store = context.workspace.aggregations
        if aggregation.field is not None and aggregation.field.startswith(METADATA):
            events = await store.read_counted(self.query, aggregation, MAX_EVENTS_READ + 1)
            if len(events) > MAX_EVENTS_READ:
                advice = (
                    f"More than {MAX_EVENTS_READ:,} events have this field. Select a shorter time, types or sources."
                )
                raise InvalidInput(Code.LIMIT, advice, "input", "field")
            return sorted(aggregate_groups(aggregation, events), key=_by_key)
        # The store holds exact sums and computes no averages, so it cannot sort by them.
        greatest_first = self.order is AggregateOrder.VALUE and aggregation.function is not Function.AVG
        found, plan = await aggregate_from_rollups(context.commands, self.query, aggregation)
        note_plan(context, "aggregateEvents", plan)
        if found is None:
            groups = await store.groups(self.query, aggregation, MAX_GROUPS + 1, greatest_first=greatest_first)
        else:
            groups = sorted(found, key=_by_value if greatest_first else _by_key)
        if len(groups) > MAX_GROUPS and not greatest_first:
            advice = f"More than {MAX_GROUPS:,} groups. Select a shorter time or fewer dimensions, or order by VALUE."
            raise InvalidInput(Code.LIMIT, advice, "input", "groupBy")
        return sorted(groups[:MAX_GROUPS], key=_by_key)

    def group_of(self, item: NumberedGroup) -> AggregateGroup:
        """Return the GraphQL object of a group."""
        _, group = item
        values: dict[GroupBy, str | datetime | None] = dict(zip(self.aggregation.group_by, group.key, strict=True))

        def text_of(dimension: GroupBy) -> str | None:
            value = values.get(dimension)
            return value if isinstance(value, str) else None

        start = next((value for value in group.key if isinstance(value, datetime)), None)
        category = text_of(GroupBy.CATEGORY)
        return AggregateGroup(
            value=group.value,
            count=group.events,
            type=text_of(GroupBy.TYPE),
            category=None if category is None else EventCategory(category),
            source=text_of(GroupBy.SOURCE),
            currency=text_of(GroupBy.CURRENCY),
            from_at=start,
            to_at=None if start is None else self._period_end(start),
            pass_id=text_of(GroupBy.PASS),
        )

    def _period_end(self, start: datetime) -> datetime:
        [period] = [PERIODS[dimension] for dimension in self.aggregation.group_by if dimension in PERIODS]
        return period_of(start, period, self.aggregation.zone, self.aggregation.week_start)[1]


def _by_key(group: Group) -> tuple[str, ...]:
    return tuple("" if v is None else v.isoformat() if isinstance(v, datetime) else v for v in group.key)


def _by_value(group: Group) -> tuple[Decimal, tuple[str, ...]]:
    return -(group.value or Decimal(0)), _by_key(group)


async def aggregate_events(
    info: Info, input: Annotated[AggregateInput, strawberry.argument(description="Function, events and groups.")]
) -> AggregateResult:
    """Compute one function over matching events, as a whole and by groups. Needs the scope `read`.

    The answer is exact and includes every event recorded before the query. It is computed from rollups where these hold
    what the question asks for. Otherwise its time grows with the number of matching events: so it does with `passId`,
    `metadata`, groups by `PASS`, `COUNT_PASSES` and sums of metadata.
    """
    context = info.context
    await await_consistency(info, input.consistency, input.token, "input", reads_events=True)
    profile = await context.commands.profile()
    now = await context.commands.now()
    function, group_by = input.function, parse_dimensions(input.group_by or [])
    field = parse_field(None if input.field is None else parse_text(input.field, "input", "field"), function)
    zone = zone_of(input.timezone, profile, "input")
    currency = None if input.currency is None else parse_currency(input.currency, "input", "currency")
    if field == AMOUNT and GroupBy.CURRENCY not in group_by:
        currency = currency or profile.currency
    start, end = await parse_time(
        info, input.time_window, input.timezone, "input", from_at=input.from_at, to_at=input.to_at
    )
    query = EventQuery(
        pass_id=None if input.pass_id is None else await _find_pass_id(context, input.pass_id),
        categories=input.categories or [],
        types=parse_each(input.types, parse_text, "input", "types"),
        sources=parse_each(input.sources, parse_text, "input", "sources"),
        currency=currency,
        occurred_after=start,
        occurred_before=end,
        metadata=parse_each(input.metadata, parse_metadata_condition, "input", "metadata"),
    )
    aggregation = Aggregation(
        function=function,
        field=field,
        group_by=group_by,
        gross=input.gross,
        zone=zone,
        week_start=profile.week_start,
    )
    question = _Question(query, aggregation, input)
    # Read the freshness before the events: a removal that finishes in between is then reported as pending.
    freshness = await read_freshness(info, now)
    total = await question.compute_total(context)
    empty_value = Decimal(0) if function in COUNTS else None
    return AggregateResult(
        value=empty_value if total is None else total.value,
        count=0 if total is None else total.events,
        currency=currency if field == AMOUNT else None,
        from_at=start,
        to_at=end,
        timezone=zone.key,
        freshness=freshness,
        question=question,
    )


async def _find_pass_id(context: RequestContext, sent: str) -> str:
    """Return the database id of the pass, or of its survivor. One that does not exist has no events."""
    pass_id = database_id(sent, "Pass") or ""
    card = await context.load.passes.load(pass_id)
    return pass_id if card is None else card.id
