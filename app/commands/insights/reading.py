"""Rows of counted events for a question about all customers, with how current they are."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from app.commands.context import Context
from app.domain.rollups.selections import Freshness, Plan, Reading, Selection
from app.domain.values.instants import to_ms


async def read_rows(ctx: Context, selection: Selection, zone: ZoneInfo) -> Reading:
    """Return the rows of a selection. `zone` is the time zone of its days.

    The rows are exact and hold every event recorded before the call, pending ones included. Raises OperationTooLarge or
    Throttled if reading costs the running operation too much. Raises Unavailable; safe to repeat.
    """
    now_ms = to_ms(await ctx.now())
    # Read the removals before the events: a removal that finishes in between is then reported as pending.
    removals = await ctx.workspace.removals.pending()
    rows = await ctx.workspace.rollups.rows_of_events(selection, zone)
    through_ms = now_ms if removals.oldest_at is None else min(now_ms, to_ms(removals.oldest_at)) - 1
    freshness = Freshness(now_ms, through_ms, removals.number, exact=removals.number == 0)
    return Reading(rows, freshness, Plan(reason="The rows are computed from the events."))
