"""Answers from rows: each aggregation that rows can answer has the same groups as from the events themselves."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from zoneinfo import ZoneInfo

from app.domain.events.event_queries import EventQuery
from app.domain.events.events import CHECKOUT, PASS_UPDATED, Category, Event
from app.domain.rollups.answers import groups_of, selection_of
from app.domain.rollups.rows import add_rows, row_of
from app.domain.state.aggregations import (
    AMOUNT,
    COUNTS,
    POINTS,
    Aggregation,
    Function,
    Group,
    GroupBy,
)
from app.domain.values.conditions import Condition, Operator
from tests.grouping import aggregate_groups
from tests.store.workspace.counted import random_event

QUERIES = (
    EventQuery(),
    EventQuery(types=(CHECKOUT, "refund"), currency="EUR"),
    EventQuery(categories=(Category.TRANSACTION,), sources=("till",)),
    EventQuery(occurred_after=datetime(2025, 1, 1, tzinfo=UTC), occurred_before=datetime(2025, 11, 1, tzinfo=UTC)),
)
DIMENSIONS = (
    (), (GroupBy.TYPE, GroupBy.CURRENCY), (GroupBy.WEEK, GroupBy.SOURCE), (GroupBy.CATEGORY, GroupBy.DAY),
    (GroupBy.WEEKDAY,), (GroupBy.HOUR, GroupBy.MONTH), (GroupBy.WEEKDAY_AND_HOUR,), (GroupBy.MONTH,),
    (GroupBy.QUARTER,), (GroupBy.YEAR,),
)  # fmt: skip


def matches(query: EventQuery, aggregation: Aggregation, event: Event) -> bool:
    types = aggregation.types_of(query.types)
    return (
        (not types or event.type in types)
        and (aggregation.counts_made(types) or not event.is_made)
        and (not query.categories or event.category in query.categories)
        and (not query.sources or event.source in query.sources)
        and query.currency in (None, event.currency)
        and (query.occurred_after is None or event.occurred_at >= query.occurred_after)
        and (query.occurred_before is None or event.occurred_at < query.occurred_before)
    )


def comparable(groups: list[Group]) -> list[tuple[str, int, object]]:
    return sorted((str(group.key), group.events, group.value) for group in groups)


def test_groups_of_rows_equal_those_of_the_events() -> None:
    random = Random(11)
    events = [event for event in (random_event(random, n) for n in range(300)) if event.type != PASS_UPDATED]
    functions = [each for each in Function if each is not Function.COUNT_PASSES]
    answered = 0
    for query, function, by in itertools.product(QUERIES, functions, DIMENSIONS):
        field = None if function in COUNTS else random.choice((AMOUNT, POINTS))
        zone = ZoneInfo(random.choice(("UTC", "Europe/Berlin", "Asia/Kolkata")))
        aggregation = Aggregation(
            function, field, by, gross=random.random() < 0.3, zone=zone, week_start=random.randrange(7)
        )
        selection = selection_of(query, aggregation)
        assert selection is not None
        inside = [event for event in events if selection.from_ms <= event.occurred_ms < selection.to_ms]
        rows = [row for row in add_rows(map(row_of, inside)) if selection.selects(row)]
        expected = aggregate_groups(aggregation, (event for event in events if matches(query, aggregation, event)))
        assert comparable(groups_of(aggregation, selection, rows)) == comparable(expected), (query, aggregation)
        answered += bool(expected)
    assert answered > 100


def test_questions_about_passes_and_metadata_have_no_selection() -> None:
    count = Aggregation(Function.COUNT)
    assert selection_of(EventQuery(types=[], metadata=[]), count) is not None
    assert selection_of(EventQuery(pass_id="pass_1"), count) is None
    assert selection_of(EventQuery(metadata=(Condition("x", Operator.EQ, 1),)), count) is None
    assert selection_of(EventQuery(), replace(count, group_by=(GroupBy.PASS,))) is None
    assert selection_of(EventQuery(), Aggregation(Function.COUNT_PASSES)) is None
    assert selection_of(EventQuery(), Aggregation(Function.SUM, "metadata.x")) is None
