"""Rows for a question: what they hold, and what they say about how current they are."""

from __future__ import annotations

from app.commands.insights.reading import read_rows
from app.commands.passes.removals import delete_events
from app.domain.events.event_queries import EventQuery
from app.domain.rollups.selections import Selection
from app.domain.values.instants import EARLIEST, LATEST, to_ms
from app.domain.values.zones import UTC
from tests.business import Business

ALL_TIME = Selection(to_ms(EARLIEST), to_ms(LATEST))


async def test_rows_include_pending_events_and_name_a_removal_that_waits(business: Business) -> None:
    await business.record({"amount": "3.50", "external_id": "a"}, {"amount": 4, "external_id": "b"})
    reading = await read_rows(business.ctx, ALL_TIME, UTC)
    [row] = reading.rows
    assert (row.totals.count, str(row.totals.sum), row.key.made) == (2, "7.50", False)
    now_ms = to_ms(await business.ctx.now())
    assert (reading.freshness.as_of_ms, reading.freshness.computed_through_ms, reading.freshness.exact) == (
        now_ms,
        now_ms,
        True,
    )
    await delete_events(business.ctx, EventQuery(types=("purchase",)))
    reading = await read_rows(business.ctx, ALL_TIME, UTC)
    assert (reading.freshness.pending_events, reading.freshness.exact) == (1, False)
