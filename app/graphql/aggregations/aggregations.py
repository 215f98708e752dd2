"""aggregateEvents: one function over the events that match, in whole or by groups, exact and up to date."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

import strawberry

from app.domain.errors import Code, InvalidInput
from app.domain.events.events import EventQuery
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
from app.domain.values.instants import LATEST, parse_instant
from app.domain.values.text import parse_text
from app.graphql.context import Info, RequestContext
from app.graphql.passes.passes import Pass
from app.graphql.passes.statistics import parse_zone, time_bounds
from app.graphql.types.consistency import await_consistency
from app.graphql.types.enums import EventCategory
from app.graphql.types.filters import each_of, parse_metadata_condition
from app.graphql.types.node import fetch_node
from app.graphql.types.paging import After, Before, First, Last, PageInfo, Pagination

from .inputs import MAX_EVENTS_READ, MAX_GROUPS, AggregateInput, AggregateOrder


@strawberry.type
class AggregateGroup:
    """The events that have something in common, and their value."""

    value: Decimal | None = strawberry.field(description="What was worked out.")
    count: int = strawberry.field(description="How many events counted.")
    type: str | None = strawberry.field(description="Their type, where grouped by it.")
    category: EventCategory | None = strawberry.field(description="Their category, where grouped by it.")
    source: str | None = strawberry.field(description="Their source, where grouped by it.")
    currency: str | None = strawberry.field(description="Their currency, where grouped by it.")
    from_at: datetime | None = strawberry.field(name="from", description="The start of their period, inclusive.")
    to_at: datetime | None = strawberry.field(name="to", description="The end of their period, exclusive.")
    pass_id: strawberry.Private[str | None]

    @strawberry.field(
        name="pass",
    )
    async def card(self, info: Info) -> Pass | None:
        """Their pass, where grouped by it."""
        if self.pass_id is None:
            return None
        found: Pass | None = await fetch_node(info.context, "Pass", self.pass_id)
        return found


@strawberry.type
class Freshness:
    """How up to date an answer is."""

    as_of: datetime = strawberry.field(description="When the question was asked, by the business clock.")
    computed_through: datetime = strawberry.field(description="Everything recorded by then is in the answer.")
    pending_events: int = strawberry.field(description="How many recorded events are not in the answer yet.")
    exact: bool = strawberry.field(description="Whether the answer is exact: worked out from the events themselves.")


Listed = tuple[int, Group]
listing: Pagination[Listed] = Pagination("group", (int,), lambda item: (item[0],))


@strawberry.type
class AggregateGroups:
    """A page of groups."""

    nodes: list[AggregateGroup] = strawberry.field(description="The groups of the page.")
    page_info: PageInfo = strawberry.field(description="Where the page lies among the groups.")
    total_count: int = strawberry.field(description="How many groups there are, of those that can be answered.")


@strawberry.type
class AggregateResult:
    """The answer to `aggregateEvents`."""

    value: Decimal | None = strawberry.field(
        description="Over all events that match; null where there are none, or where currencies would be mixed."
    )
    count: int = strawberry.field(description="How many events counted.")
    currency: str | None = strawberry.field(description="The currency of the value, for functions of the amount.")
    from_at: datetime | None = strawberry.field(name="from", description="The start of the time meant, inclusive.")
    to_at: datetime | None = strawberry.field(name="to", description="The end of the time meant, exclusive.")
    timezone: str = strawberry.field(description="The zone of the periods.")
    freshness: Freshness = strawberry.field(description="How up to date the answer is.")
    asked: strawberry.Private[_Asked]

    @strawberry.field
    async def groups(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> AggregateGroups:
        """The values by group; empty unless `groupBy` names a dimension."""
        if last is None and before is None:
            first, after = first or self.asked.first, after or self.asked.after
        span = listing.span(first, after, last, before)
        found = list(enumerate(await self.asked.groups(info.context))) if self.asked.aggregation.by else []

        page = listing.paged(found, span)
        nodes = [self.asked.published(item) for item in page.items]
        return AggregateGroups(nodes=nodes, page_info=listing.info(page, span), total_count=len(found))


class _Asked:
    """A checked question: which events, what of them, in which order."""

    def __init__(self, query: EventQuery, aggregation: Aggregation, input: AggregateInput) -> None:
        self.query, self.aggregation, self.order = query, aggregation, input.order_by
        self.first, self.after = input.first, input.after

    async def whole(self, context: RequestContext) -> Group | None:
        """The value over all events; None where there is none, or none that mixes no currencies."""
        if self.aggregation.of_money and self.query.currency is None:
            return None
        undivided = Aggregation(
            self.aggregation.function, self.aggregation.field, (), self.aggregation.gross, self.aggregation.zone
        )
        found = await self._worked_out(context, undivided)
        return found[0] if found else None

    async def groups(self, context: RequestContext) -> list[Group]:
        """The groups in the order asked for. Raises InvalidInput: LIMIT, with advice."""
        found = await self._worked_out(context, self.aggregation)
        if self.order is AggregateOrder.VALUE:
            found.sort(key=_least_last)
        return found

    async def _worked_out(self, context: RequestContext, aggregation: Aggregation) -> list[Group]:
        store = context.workspace.aggregations
        if aggregation.field is not None and aggregation.field.startswith(METADATA):
            events = await store.counted(self.query, aggregation, MAX_EVENTS_READ + 1)
            if len(events) > MAX_EVENTS_READ:
                advice = (
                    f"More than {MAX_EVENTS_READ:,} events have this field; give a shorter time, types or a source."
                )
                raise InvalidInput(Code.LIMIT, advice, "input", "field")
            return sorted(aggregate_groups(aggregation, events), key=_by_key)
        greatest = self.order is AggregateOrder.VALUE and aggregation.function is not Function.AVG
        found = await store.groups(self.query, aggregation, MAX_GROUPS + 1, greatest_first=greatest)
        if len(found) > MAX_GROUPS and not greatest:
            advice = f"More than {MAX_GROUPS:,} groups; give a shorter time or fewer dimensions, or order by VALUE."
            raise InvalidInput(Code.LIMIT, advice, "input", "groupBy")
        return sorted(found[:MAX_GROUPS], key=_by_key)

    def published(self, item: Listed) -> AggregateGroup:
        """A group as it is answered."""
        _, group = item
        at: dict[GroupBy, str | datetime | None] = dict(zip(self.aggregation.by, group.key, strict=True))

        def text(dimension: GroupBy) -> str | None:
            value = at.get(dimension)
            return value if isinstance(value, str) else None

        start = next((value for value in group.key if isinstance(value, datetime)), None)
        category = text(GroupBy.CATEGORY)
        return AggregateGroup(
            value=group.value,
            count=group.events,
            type=text(GroupBy.TYPE),
            category=None if category is None else EventCategory(category),
            source=text(GroupBy.SOURCE),
            currency=text(GroupBy.CURRENCY),
            from_at=start,
            to_at=None if start is None else self._end(start),
            pass_id=text(GroupBy.PASS),
        )

    def _end(self, start: datetime) -> datetime:
        [period] = [PERIODS[dimension] for dimension in self.aggregation.by if dimension in PERIODS]
        return period_of(start, period, self.aggregation.zone, self.aggregation.week_start)[1].astimezone(UTC)


def _by_key(group: Group) -> tuple[str, ...]:
    return tuple("" if v is None else v.isoformat() if isinstance(v, datetime) else v for v in group.key)


def _least_last(group: Group) -> tuple[Decimal, tuple[str, ...]]:
    return -(group.value or Decimal(0)), _by_key(group)


async def aggregate_events(
    info: Info, input: Annotated[AggregateInput, strawberry.argument(description="What to work out.")]
) -> AggregateResult:
    """One function over the events that match, in whole or by groups: exact, and up to date."""
    context = info.context
    await await_consistency(info, input.consistency, input.token, "input", of_events=True)
    profile = await context.commands.profile()
    now = await context.commands.now()
    function, by = input.function, parse_dimensions(input.group_by or [])
    field = parse_field(None if input.field is None else parse_text(input.field, "input", "field"), function)
    zone = parse_zone(input.timezone or profile.timezone)
    currency = None if input.currency is None else parse_currency(input.currency, "input", "currency")
    if field == AMOUNT and GroupBy.CURRENCY not in by:
        currency = currency or profile.currency
    start, end = await _time(info, input)
    query = EventQuery(
        categories=input.categories or [],
        types=each_of(input.types, parse_text, "input", "types"),
        sources=each_of(input.sources, parse_text, "input", "sources"),
        currency=currency,
        occurred_after=start,
        occurred_before=end,
        metadata=each_of(input.metadata, parse_metadata_condition, "input", "metadata"),
    )
    asked = _Asked(query, Aggregation(function, field, by, input.gross, zone, profile.week_start), input)
    whole = await asked.whole(context)
    nothing = Decimal(0) if function in COUNTS else None
    return AggregateResult(
        value=nothing if whole is None else whole.value,
        count=0 if whole is None else whole.events,
        currency=currency if field == AMOUNT else None,
        from_at=start,
        to_at=end,
        timezone=zone.key,
        freshness=Freshness(as_of=now, computed_through=now, pending_events=0, exact=True),
        asked=asked,
    )


async def _time(info: Info, input: AggregateInput) -> tuple[datetime | None, datetime | None]:
    if input.from_at is None and input.to_at is None:
        bounds = await time_bounds(info, input.time_window, input.timezone)
        if bounds is None:
            return None, None
        start, end = bounds
        return start, None if end == LATEST else end
    if input.time_window is not None:
        raise InvalidInput(Code.INVALID, "Give a window, or from and to.", "input", "timeWindow")
    start_at = None if input.from_at is None else parse_instant(input.from_at, "input", "from")
    end_at = None if input.to_at is None else parse_instant(input.to_at, "input", "to")
    if start_at is not None and end_at is not None and start_at >= end_at:
        raise InvalidInput(Code.OUT_OF_RANGE, "from lies before to.", "input", "from")
    return start_at, end_at
