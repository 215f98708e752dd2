"""Aggregations of events answered from rollups, where these hold what a read of all events would find."""

from __future__ import annotations

import asyncio

from app.commands.context import Context
from app.domain.events.event_queries import EventQuery
from app.domain.rollups.answers import groups_of, selection_of
from app.domain.rollups.selections import Plan
from app.domain.state.aggregations import Aggregation, Group

from .reading import read_whole

UNANSWERABLE = "Rollups hold no passes and no metadata."


async def aggregate_from_rollups(
    ctx: Context, query: EventQuery, aggregation: Aggregation
) -> tuple[list[Group] | None, Plan]:
    """Return the groups of an aggregation, in no particular order, and what was read for them.

    The groups are None if only a read of the events gives the answer; the plan has the reason. Raises OperationTooLarge
    or Throttled if reading costs the running operation too much. Raises Unavailable; safe to repeat.
    """
    selection = selection_of(query, aggregation)
    if selection is None:
        return None, Plan(reason=UNANSWERABLE)
    found = await read_whole(ctx, selection, aggregation.zone)
    if isinstance(found, str):
        return None, Plan(reason=found)
    return await asyncio.to_thread(groups_of, aggregation, selection, found.rows), found.plan
