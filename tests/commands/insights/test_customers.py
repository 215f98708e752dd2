"""Distinct customers of a time, and those of them who are new."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from random import Random
from unittest.mock import patch

import pytest

from app.commands.insights.customers import count_active, count_passes
from app.commands.insights.sealed_customers import ActivePasses
from app.commands.passes.removals import remove_events
from app.domain.errors import Code, InvalidInput
from app.domain.events.event_queries import EventQuery
from app.store.mongo.paging import PageRequest
from app.store.workspace.pass_periods import PassPeriodReads
from tests.business import Business
from workers.stages.seal_passes import seal_passes

MARCH, APRIL = datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 4, 1, tzinfo=UTC)
DAY = timedelta(days=1)


async def record_spring(business: Business) -> None:
    """Ann buys in February and March, Bob in March only, Cas in April only; Dan only fills in a form."""
    await business.record(
        {"pass_external_id": "ann", "occurred_at": MARCH - DAY},
        {"pass_external_id": "ann", "occurred_at": MARCH + DAY},
        {"pass_external_id": "ann", "occurred_at": MARCH + 2 * DAY, "type": "visit"},
        {"pass_external_id": "bob", "occurred_at": MARCH},
        {"pass_external_id": "bob", "occurred_at": APRIL},
        {"pass_external_id": "cas", "occurred_at": APRIL},
    )
    await business.create_passes("dan")


async def test_active_customers_are_new_if_their_first_event_lies_in_the_time(business: Business) -> None:
    await record_spring(business)
    for _ in range(2):  # pending events count like folded ones
        assert await count_active(business.ctx, MARCH, APRIL) == ActivePasses(active=2, new=1, returning=1)
        assert await count_active(business.ctx, APRIL, APRIL + DAY) == ActivePasses(active=2, new=1, returning=1)
        assert await count_active(business.ctx, APRIL + DAY, APRIL + 2 * DAY) == ActivePasses(0, 0, returning=0)
        await business.run_worker()


async def test_customers_of_matching_events_are_counted_once_each(business: Business) -> None:
    await record_spring(business)
    assert await count_passes(business.ctx, EventQuery()) == 3
    assert await count_passes(business.ctx, EventQuery(types=("visit",))) == 1
    assert await count_passes(business.ctx, EventQuery(occurred_before=APRIL)) == 2


async def test_too_many_events_are_refused_with_advice(business: Business) -> None:
    await record_spring(business)
    with patch("app.store.workspace.customers.MAX_EVENTS_OF_CUSTOMERS", 2), pytest.raises(InvalidInput) as refused:
        await count_active(business.ctx, MARCH, MARCH + 9 * DAY)
    [problem] = refused.value.problems
    assert problem.code is Code.LIMIT
    assert "whole months" in problem.message


SPANS = (
    (MARCH, APRIL),
    (MARCH - 2 * DAY, APRIL + 3 * DAY),  # edges are added
    (MARCH + timedelta(hours=1), APRIL - timedelta(hours=2)),  # edges are taken away
    (datetime(2024, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
    (datetime(2025, 2, 25, tzinfo=UTC), datetime(2025, 12, 3, tzinfo=UTC)),
)


async def compute_active(business: Business, after: datetime, before: datetime) -> ActivePasses:
    """Return the numbers from all events that are stored."""
    events = (await business.ctx.workspace.events.page(EventQuery(), PageRequest(10_000))).items
    own = [event for event in events if not event.is_made]
    active = {event.pass_id for event in own if after <= event.occurred_at < before}
    returning = {event.pass_id for event in own if event.occurred_at < after} & active
    return ActivePasses(len(active), len(active) - len(returning), len(returning))


async def check_active(business: Business) -> None:
    """Compare the numbers of all spans. No answer may fall back to the events of the whole time."""
    with patch("app.store.workspace.customers.MAX_EVENTS_OF_CUSTOMERS", -1):
        for after, before in SPANS:
            expected = await compute_active(business, after, before)
            assert await count_active(business.ctx, after, before) == expected, (after, before)


async def test_customers_of_sealed_months_are_those_of_all_events(business: Business) -> None:
    random, workspace = Random(7), business.ctx.workspace
    for step in range(4):
        # Few events a pass, so that many passes are new, active at an edge only, or not at all.
        await business.record(
            *(
                {
                    "external_id": f"e{step}-{number}",
                    "pass_external_id": f"p{random.randrange(40)}",
                    "type": random.choice(("visit", "purchase")),
                    "occurred_at": datetime(2025, 2, 20, tzinfo=UTC) + timedelta(hours=random.randrange(24 * 45)),
                }
                for number in range(25)
            )
        )
        await check_active(business)  # these are pending
        await business.run_worker()
        await check_active(business)  # these are marked
        if step % 2 == 0:
            await seal_passes(business.worker, workspace.id)
            await check_active(business)
        events = (await workspace.events.page(EventQuery(), PageRequest(1_000))).items
        await remove_events(business.ctx, [(event.pass_id, event.id) for event in random.sample(events, 6)])
        await business.run_worker()
    await seal_passes(business.worker, workspace.id)
    await check_active(business)


async def test_passes_that_are_sealed_while_they_are_counted_are_counted_again(business: Business) -> None:
    await record_spring(business)
    await business.run_worker()
    count, looks = PassPeriodReads.count_active, 0

    async def seal_then_count(self: PassPeriodReads, periods: Collection[int]) -> int:
        nonlocal looks
        looks += 1
        found = await count(self, periods)
        await seal_passes(business.worker, business.ctx.workspace.id)
        return found

    with patch.object(PassPeriodReads, "count_active", seal_then_count):
        assert await count_active(business.ctx, MARCH, APRIL) == ActivePasses(active=2, new=1, returning=1)
    assert looks == 2


async def test_what_is_in_no_sealed_month_is_read_from_events_if_it_is_too_much(business: Business) -> None:
    await record_spring(business)
    with patch("app.store.workspace.pass_periods.MAX_UNSEALED_EVENTS", 0):
        assert await count_active(business.ctx, MARCH, APRIL) == ActivePasses(active=2, new=1, returning=1)
