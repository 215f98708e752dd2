"""Distinct customers of a time, and those of them who are new."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest

from app.commands.insights.customers import ActivePasses, count_active, count_passes
from app.domain.errors import Code, InvalidInput
from app.domain.events.event_queries import EventQuery
from tests.business import Business

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
        await count_active(business.ctx, MARCH, APRIL)
    [problem] = refused.value.problems
    assert problem.code is Code.LIMIT
    assert "shorter time" in problem.message
