"""The query aggregateEvents: one function over matching events, as a whole or by groups, computed from the events."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Annotated

import strawberry

from app.domain.errors import Code, InvalidInput
from app.domain.events.event_queries import EventQuery
from app.domain.insights.comparisons import earlier_period
from app.domain.insights.periods import Asked
from app.domain.rollups.selections import Selection
from app.domain.state.aggregations import (
    AMOUNT,
    COUNTS,
    Aggregation,
    Function,
    Group,
    GroupBy,
    parse_dimensions,
    parse_field,
    parse_metadata_dimensions,
)
from app.domain.state.ranking import Ranking
from app.domain.values.currencies import parse_currency
from app.domain.values.decimals import parse_decimal
from app.domain.values.instants import EARLIEST, LATEST, from_ms, to_ms
from app.domain.values.text import parse_text
from app.graphql.context import Info, RequestContext
from app.graphql.passes.statistics import parse_time, zone_of
from app.graphql.types.comparisons import ValueChange, value_change
from app.graphql.types.consistency import await_consistency
from app.graphql.types.filters import parse_each, parse_metadata_condition
from app.graphql.types.freshness import Freshness, read_freshness
from app.graphql.types.ids import database_id
from app.graphql.types.paging import After, Before, First, Last
from app.graphql.types.selections import check_arguments, is_selected

from .groups import AggregateGroups, listing
from .inputs import AggregateInput
from .questions import Question


@strawberry.type
class AggregateComparison(ValueChange):
    """Value of `aggregateEvents` in an earlier period, and the change since."""

    count: int = strawberry.field(description="Number of events that the function counts in the earlier period.")
    from_at: datetime = strawberry.field(name="from", description="Start of the earlier period, inclusive.")
    to_at: datetime = strawberry.field(name="to", description="End of the earlier period, exclusive.")


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
    comparison: AggregateComparison | None = strawberry.field(
        description="Change of the value since the earlier period. Null without `compareTo`."
    )
    question: strawberry.Private[Question]

    @strawberry.field
    async def groups(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> AggregateGroups:
        """Values by group. Empty unless `groupBy` names a dimension.

        `first` and `after` default to those of the input.
        """
        span = listing.span_or_default(self.question, first, after, last=last, before=before)
        groups = await self.question.compute_groups(info.context) if self.question.aggregation.has_groups else []
        page = listing.paged(list(enumerate(groups)), span)
        earlier = await self.question.earlier_values(info.context) if is_selected(info, "nodes.comparison") else {}
        nodes = [self.question.group_of(item, earlier) for item in page.items]
        return AggregateGroups(nodes=nodes, page_info=listing.info(page, span), total_count=len(groups))


async def aggregate_events(
    info: Info, input: Annotated[AggregateInput, strawberry.argument(description="Function, events and groups.")]
) -> AggregateResult:
    """Compute one function over matching events, as a whole and by groups. Needs the scope `read`.

    The answer is exact and includes every event recorded before the query. It is computed from rollups where these hold
    what the question asks for. Otherwise its time grows with the number of matching events: so it does with `passId`,
    groups by `PASS`, `COUNT_PASSES` and sums of metadata. So it does with `metadata` and `groupByMetadata`, unless they name
    one dimension of the one type in `types`: in one condition `EQ` or `IN`, or as the one path.
    """
    context = info.context
    await await_consistency(info, input.consistency, input.token, "input", reads_events=True)
    profile = await context.commands.profile()
    now = await context.commands.now()
    function, group_by = input.function, parse_dimensions(input.group_by or [])
    metadata_by = parse_metadata_dimensions(input.group_by_metadata or [], len(group_by))
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
        metadata_by=metadata_by,
    )
    asked = earlier = None
    if input.compare_to is not None:
        if start is None:
            message = "A comparison needs a start: give `from`, or a `timeWindow` that does not cover all time."
            raise InvalidInput(Code.REQUIRED, message, "input", "from")
        end_ms = to_ms(now) + 1 if end is None else to_ms(end)
        asked = Asked(to_ms(start), max(end_ms, to_ms(start) + 1), zone, week_start=profile.week_start)
        earlier = earlier_period(asked, input.compare_to)
    question = Question(
        query,
        aggregation,
        _parse_ranking(input),
        first=input.first,
        after=input.after,
        asked=asked,
        earlier=earlier,
    )
    check_arguments(info, "groups", partial(listing.span_or_default, question))
    # A refund without an amount has no currency before it is decided, so the currency selects nothing here.
    selection = Selection(
        to_ms(start or EARLIEST) if earlier is None else earlier.from_ms,
        to_ms(end or LATEST),
        types=aggregation.types_of(query.types),
        categories=query.categories,
        sources=query.sources,
    )
    freshness = await read_freshness(info, selection)
    total = await question.compute_total(context)
    return AggregateResult(
        value=_value_of(function, total),
        count=0 if total is None else total.events,
        currency=currency if field == AMOUNT else None,
        from_at=start,
        to_at=end,
        timezone=zone.key,
        freshness=freshness,
        comparison=await _compare(context, question, total),
        question=question,
    )


async def _compare(context: RequestContext, question: Question, total: Group | None) -> AggregateComparison | None:
    if question.earlier is None:
        return None
    before = await question.compute_total(context, question.earlier)
    function = question.aggregation.function
    change = value_change(_value_of(function, before), _value_of(function, total))
    return AggregateComparison(
        value=change.value,
        change=change.change,
        change_ratio=change.change_ratio,
        count=0 if before is None else before.events,
        from_at=from_ms(question.earlier.from_ms),
        to_at=from_ms(question.earlier.to_ms),
    )


def _value_of(function: Function, total: Group | None) -> Decimal | None:
    if total is None:
        return Decimal(0) if function in COUNTS else None
    return total.value


def _parse_ranking(input: AggregateInput) -> Ranking:
    having = input.having
    if having is None:
        return Ranking(input.order_by)
    low, high = (
        None if raw is None else parse_decimal(raw, "input", "having", name)
        for name, raw in (("gte", having.gte), ("lte", having.lte))
    )
    return Ranking(input.order_by, low, high)


async def _find_pass_id(context: RequestContext, sent: str) -> str:
    """Return the database id of the pass, or of its survivor. One that does not exist has no events."""
    pass_id = database_id(sent, "Pass") or ""
    card = await context.load.passes.load(pass_id)
    return pass_id if card is None else card.id
