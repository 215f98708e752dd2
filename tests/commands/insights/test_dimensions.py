"""Dimensions: aggregations by values of the metadata are the same from rollups and from events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from random import Random
from zoneinfo import ZoneInfo

import pytest

from app.clock import FixedClock
from app.commands.events.event_types import event_type, event_types, latest_event_types, update_event_type
from app.commands.insights.aggregations import NO_DIMENSION, OVERFLOWING, aggregate_from_rollups
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import Event
from app.domain.ids import dimension_job_id
from app.domain.jobs import JobKind, JobStatus
from app.domain.rollups.sealing import AT_ONCE
from app.domain.rollups.selections import Plan
from app.domain.state.aggregations import AMOUNT, Aggregation, Function, Group, GroupBy
from app.domain.values.conditions import Condition, Operator
from app.resources import Resources
from tests.business import Business, open_business
from tests.grouping import aggregate_groups
from workers.stages import run_job, seal

pytestmark = pytest.mark.not_on_java("it has no $dateTrunc")
START = datetime(2025, 1, 30, 22, tzinfo=UTC)
CITY: Mapping[str, object] = {"name": "store.city", "type": "TEXT", "dimension": True}
SIZE: Mapping[str, object] = {"name": "size", "type": "NUMBER", "dimension": True}
SALES = EventQuery(types=("purchase",))
BY_CITY = Aggregation(Function.SUM, AMOUNT, metadata_by=("store.city",))
CITIES = ("Bonn", "Köln", "Aachen", None)


@pytest.fixture
async def business(resources: Resources) -> Business:
    clock = FixedClock(START + timedelta(days=60))
    business = await open_business(replace(resources, clock=clock), clock)
    business.worker.seals.timing = AT_ONCE
    return business


async def record(business: Business, *cities: object, at: datetime = START, **fields: object) -> None:
    """Record a purchase for each city, one a minute."""
    items = [
        {"amount": number + 1, "occurred_at": at + timedelta(minutes=number), **_with_city(city), **fields}
        for number, city in enumerate(cities)
    ]
    await business.record(*items)
    await business.run_worker()


def _with_city(city: object) -> dict[str, object]:
    return {} if city is None else {"metadata": {"store": {"city": city}}}


async def seal_all(business: Business) -> None:
    await seal.seal(business.worker, business.ctx.workspace.id)


async def mark_dimensions(business: Business, *attributes: Mapping[str, object]) -> str:
    """Replace the attributes of purchases, run the job that prepares dimensions, and return its id."""
    definition = await update_event_type(business.ctx, "purchase", attributes=attributes)
    job_id = dimension_job_id(definition.id, definition.version)
    await run_job.jobs(business.worker, job_id)
    return job_id


async def ask(
    business: Business, aggregation: Aggregation = BY_CITY, query: EventQuery = SALES
) -> tuple[list[Group], Plan]:
    """Return the groups from rollups, which must equal those from events, and what was read. Without rollups: no groups."""
    found, plan = await aggregate_from_rollups(business.ctx, query, aggregation)
    if found is None:
        return [], plan
    events: list[Event] = []
    await business.ctx.workspace.aggregations.read_counted(query, aggregation, 10_000, events.extend)
    assert sorted(found, key=repr) == sorted(aggregate_groups(aggregation, events), key=repr)
    return found, plan


@pytest.mark.parametrize("seed", range(2))
async def test_answers_about_dimensions_are_the_same_from_rollups_and_events(business: Business, seed: int) -> None:
    random = Random(seed)
    await mark_dimensions(business, CITY, SIZE)

    def sale(number: int, span_minutes: int) -> dict[str, object]:
        city = random.choice((*CITIES, ["Bonn", "Köln"], {"name": "Bonn"}) if number % 20 == 7 else CITIES)
        metadata = {"store": {"city": city}} if city is not None else {}
        return {
            "type": random.choice(("purchase", "purchase", "visit")),
            "amount": random.randrange(900),
            "currency": random.choice(("USD", "USD", "JPY")),
            "points": random.choice((0, 3, -2)),
            "occurred_at": START + timedelta(minutes=random.randrange(span_minutes)),
            "metadata": {**metadata, "size": random.choice((1, 1.0, "1", 2.5))},
        }

    for number in range(3):
        await business.record(*(sale(each, 4 * 24 * 60) for each in range(40)))
        await business.run_worker()
        if number < 2:
            await seal_all(business)
    # These events are not counted by a worker before the questions.
    await business.record(*(sale(each, 300) for each in range(20)))
    periods = (
        (START - timedelta(days=20), START + timedelta(days=40)),
        (START + timedelta(hours=1, minutes=7), START + timedelta(days=3, minutes=1)),
    )
    conditions = (Condition("store.city", Operator.EQ, "Bonn"), Condition("size", Operator.IN, (1, 2.5)))
    functions = ((Function.SUM, AMOUNT), (Function.MAX, AMOUNT), (Function.AVG, "points"), (Function.COUNT, None))
    groups = ((), (GroupBy.DAY,), (GroupBy.CURRENCY,))
    for number, ((function, field), period) in enumerate(product(functions, periods)):
        asked = replace(SALES, occurred_after=period[0], occurred_before=period[1])
        query = replace(asked, currency="USD" if field == AMOUNT or number % 4 > 1 else None)
        path, group_by = ("store.city", "size")[(number + seed) % 2], groups[number % 3]
        by_value = Aggregation(function, field, group_by, zone=ZoneInfo("Asia/Kolkata"), metadata_by=(path,))
        assert (await ask(business, by_value, query))[1].reason is None
        filtered = replace(query, metadata=[conditions[number // 2 % 2]])
        assert (await ask(business, Aggregation(function, field), filtered))[1].reason is None


async def test_earlier_hours_are_read_from_events_until_a_job_has_marked_them(business: Business) -> None:
    await record(business, "Bonn", "Köln", None)
    await record(business, "Bonn", at=START + timedelta(days=20))
    await seal_all(business)
    assert (await ask(business))[1].reason == NO_DIMENSION
    definition = await update_event_type(business.ctx, "purchase", attributes=[CITY])
    await update_event_type(business.ctx, "purchase", attributes=[CITY])
    groups, plan = await ask(business)
    assert ((plan.months, plan.event_hours), len(groups)) == ((0, 2), 3)
    await run_job.jobs(business.worker, dimension_job_id(definition.id, definition.version))
    await seal_all(business)
    _, plan = await ask(business)
    assert (plan.months, plan.event_hours) == (2, 0)
    job = await business.ctx.workspace.jobs.get(dimension_job_id(definition.id, definition.version))
    assert job is not None
    assert (job.kind, job.status, job.tally.done, job.outcome) == (
        JobKind.PREPARE_DIMENSIONS, JobStatus.SUCCEEDED, 2, {"hours": 2},
    )  # fmt: skip


async def test_an_hour_that_was_sealed_while_the_definition_changed_claims_no_dimension(business: Business) -> None:
    await record(business, "Bonn", "Köln")
    queries = business.worker.seal_queries
    dimensions_before = queries.dimensions

    async def change_after_reading(workspace_id: str) -> object:
        found = await dimensions_before(workspace_id)
        await update_event_type(business.ctx, "purchase", attributes=[CITY])
        return found

    queries.dimensions = change_after_reading  # type: ignore[assignment, method-assign]
    await seal_all(business)
    queries.dimensions = dimensions_before  # type: ignore[method-assign]
    _, plan = await ask(business)
    assert (plan.reason, plan.event_hours) == (None, 1)


async def test_a_dimension_with_too_many_values_overflows_until_it_loses_its_mark(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.domain.rollups.dimensions.MAX_VALUES", 2)
    await mark_dimensions(business, CITY)
    await record(business, "Bonn", "Köln")
    await seal_all(business)
    assert (await ask(business))[1].event_hours == 0
    await record(business, "Aachen", at=START + timedelta(hours=3))
    await seal_all(business)
    await latest_event_types(business.ctx)
    assert (await ask(business))[1].reason == OVERFLOWING
    changed = await update_event_type(business.ctx, "purchase", "Sale", attributes=[CITY])
    assert [each.overflowing for each in changed.attributes] == [True]
    await update_event_type(business.ctx, "purchase", attributes=[])
    await mark_dimensions(business, CITY)
    found = await event_type(business.ctx, "purchase")
    assert found is not None
    assert [each.overflowing for each in found.attributes] == [False]
    monkeypatch.undo()
    await seal_all(business)
    assert (await ask(business))[1].event_hours == 0


async def test_questions_that_rows_of_one_dimension_do_not_answer_read_events(business: Business) -> None:
    await mark_dimensions(business, CITY, SIZE)
    await record(business, "Bonn")
    await seal_all(business)
    is_bonn = Condition("store.city", Operator.EQ, "Bonn")
    for aggregation, query in (
        (replace(BY_CITY, metadata_by=("store.city", "size")), SALES),
        (BY_CITY, replace(SALES, metadata=[is_bonn])),
        (BY_CITY, replace(SALES, sources=("api",))),
        (BY_CITY, EventQuery()),
        (BY_CITY, EventQuery(types=("purchase", "visit"))),
        (replace(BY_CITY, group_by=(GroupBy.SOURCE,)), SALES),
        (replace(BY_CITY, metadata_by=("store",)), SALES),
        (Aggregation(Function.COUNT), replace(SALES, metadata=[Condition("store.city", Operator.NE, "Bonn")])),
    ):
        assert (await ask(business, aggregation, query))[1].reason is not None
    assert (await event_types(business.ctx)).revision == 1
