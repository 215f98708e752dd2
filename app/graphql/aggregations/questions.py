"""Checked questions of aggregateEvents, and how they are computed from rollups or events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from app.commands.insights.aggregations import aggregate_from_rollups
from app.domain.errors import Code, InvalidInput
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import Event
from app.domain.insights.comparisons import comparable_key
from app.domain.insights.periods import Asked
from app.domain.state.aggregations import (
    CLOCK,
    PERIODS,
    Aggregation,
    Function,
    Group,
    GroupBy,
)
from app.domain.state.grouping import Grouping
from app.domain.state.local_clock import read_coordinate
from app.domain.state.metadata_values import value_of
from app.domain.state.ranking import Ranking
from app.domain.state.statistics import period_of
from app.domain.values.instants import from_ms
from app.domain.values.periods import Weekday
from app.graphql.context import RequestContext
from app.graphql.plans import note_plan
from app.graphql.types.comparisons import ValueChange, value_change
from app.graphql.types.enums import EventCategory
from app.graphql.types.scalars import JSON

from .groups import AggregateGroup, NumberedGroup
from .inputs import MAX_EVENTS_READ, MAX_GROUPS

EarlierValues = Mapping[tuple[str | int | None, ...], Decimal | None]
"""Values of the groups of the earlier period, by `comparable_key`."""


@dataclass(frozen=True)
class Question:
    """Checked question of aggregateEvents: the events, the function, the dimensions and the order of the groups.

    `asked` and `earlier` are the periods that are compared; both are None without `compareTo`.
    """

    query: EventQuery
    aggregation: Aggregation
    ranking: Ranking
    first: int | None
    after: str | None
    asked: Asked | None = None
    earlier: Asked | None = None

    async def compute_total(self, context: RequestContext, during: Asked | None = None) -> Group | None:
        """Return the value over all matching events; None if no event counts, or if the value would mix currencies.

        `during` is another period than that of the question.
        """
        if self.aggregation.is_money and self.query.currency is None:
            return None
        ungrouped = replace(self.aggregation, group_by=(), metadata_by=())
        groups = await self._compute(context, _during(self.query, during), ungrouped, Ranking())
        return groups[0] if groups else None

    async def compute_groups(self, context: RequestContext) -> list[Group]:
        """Return the groups in the requested order.

        Raises InvalidInput with the code LIMIT and advice if there are too many.
        """
        return await self._compute(context, self.query, self.aggregation, self.ranking)

    async def earlier_values(self, context: RequestContext) -> EarlierValues:
        """Return the values of the groups of the earlier period; none without `compareTo`. Raises as `compute_groups`."""
        if self.earlier is None:
            return {}
        groups = await self._compute(context, _during(self.query, self.earlier), self.aggregation, Ranking())
        return {comparable_key(group.key, self.aggregation.group_by, self.earlier): group.value for group in groups}

    async def _compute(
        self, context: RequestContext, query: EventQuery, aggregation: Aggregation, ranking: Ranking
    ) -> list[Group]:
        store = context.workspace.aggregations
        found, plan = await aggregate_from_rollups(context.commands, query, aggregation)
        note_plan(context, "aggregateEvents", plan)
        # The store computes no averages, so it cannot choose groups by them.
        is_cut = not aggregation.reads_metadata and ranking.by_value and aggregation.function is not Function.AVG
        if found is not None:
            groups = ranking.rank(found)
        elif aggregation.reads_metadata:
            read = _BoundedGroups(aggregation)
            await store.read_counted(query, aggregation, MAX_EVENTS_READ + 1, read.add)
            groups = read.grouping.compute()
        else:
            groups = await store.groups(query, aggregation, MAX_GROUPS + 1, ranking)
        if len(groups) > MAX_GROUPS and not is_cut:
            raise _too_many_groups(aggregation)
        return ranking.rank(groups[:MAX_GROUPS])

    def group_of(self, item: NumberedGroup, earlier: EarlierValues) -> AggregateGroup:
        """Return the GraphQL object of a group. `earlier` are the values of the earlier period."""
        _, group = item
        group_by, paths = self.aggregation.group_by, self.aggregation.metadata_by
        values: dict[GroupBy, str | datetime | None] = dict(zip(group_by, group.key, strict=False))
        texts = [value if isinstance(value, str) else None for value in group.key[len(group_by) :]]
        clock = next((str(values[by]) for by in group_by if by in CLOCK), None)
        weekday, hour = (None, None) if clock is None else read_coordinate(clock)

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
            weekday=None if weekday is None else tuple(Weekday)[weekday],
            hour=hour,
            metadata=JSON(dict(zip(paths, map(value_of, texts), strict=True))) if paths else None,
            comparison=self._comparison(group, earlier),
            pass_id=text_of(GroupBy.PASS),
        )

    def _comparison(self, group: Group, earlier: EarlierValues) -> ValueChange | None:
        if self.asked is None:
            return None
        key = comparable_key(group.key, self.aggregation.group_by, self.asked)
        return value_change(earlier[key], group.value) if key in earlier else None

    def _period_end(self, start: datetime) -> datetime:
        [period] = [PERIODS[dimension] for dimension in self.aggregation.group_by if dimension in PERIODS]
        return period_of(start, period, self.aggregation.zone, self.aggregation.week_start)[1]


class _BoundedGroups:
    """Groups of events that are read in parts, as many as one answer may have."""

    def __init__(self, aggregation: Aggregation) -> None:
        self.grouping = Grouping(aggregation)
        self._aggregation, self._events = aggregation, 0

    def add(self, events: Sequence[Event]) -> None:
        """Add the events of a part. Raises InvalidInput with the code LIMIT and advice if there are too many by now."""
        self._events += len(events)
        if self._events > MAX_EVENTS_READ:
            raise _too_many_events(self._aggregation)
        self.grouping.add(events)
        if self.grouping.size > MAX_GROUPS:
            raise _too_many_groups(self._aggregation)


def _too_many_events(aggregation: Aggregation) -> InvalidInput:
    what = "have this field" if aggregation.field is not None else "match"
    advice = f"More than {MAX_EVENTS_READ:,} events {what}. Select a shorter time, types or sources."
    return InvalidInput(Code.LIMIT, advice, "input", "groupByMetadata" if aggregation.metadata_by else "field")


def _too_many_groups(aggregation: Aggregation) -> InvalidInput:
    can_cut = not aggregation.reads_metadata and aggregation.function is not Function.AVG
    advice = "Select a shorter time or fewer dimensions" + (", or order by VALUE." if can_cut else ".")
    field = "groupBy" if aggregation.group_by else "groupByMetadata"
    return InvalidInput(Code.LIMIT, f"More than {MAX_GROUPS:,} groups. {advice}", "input", field)


def _during(query: EventQuery, asked: Asked | None) -> EventQuery:
    if asked is None:
        return query
    return replace(query, occurred_after=from_ms(asked.from_ms), occurred_before=from_ms(asked.to_ms))
