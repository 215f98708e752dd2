"""Aggregations of events answered from rollups, where these hold what a read of all events would find."""

from __future__ import annotations

import asyncio

from app.commands.context import Context
from app.commands.events.event_types import event_types
from app.domain.events.event_queries import EventQuery
from app.domain.rollups.answers import groups_of, selection_of
from app.domain.rollups.dimensions import MAX_VALUES, Dimension
from app.domain.rollups.selections import Plan
from app.domain.state.aggregations import Aggregation, Group

from .reading import read_whole

UNANSWERABLE = (
    "Rollups hold no passes. Of the metadata, they hold the values of one dimension of one type, and not by source."
)
NO_DIMENSION = "This path of the metadata is no dimension of the type."
OVERFLOWING = f"This dimension overflows: it has had more than {MAX_VALUES:,} values within a month."
"""Reasons why an aggregation reads the events. They are shown to developers."""


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
    if selection.dimension is not None and (reason := await _find_obstacle(ctx, selection.dimension)):
        return None, Plan(reason=reason)
    found = await read_whole(ctx, selection, aggregation.zone)
    if isinstance(found, str):
        return None, Plan(reason=found)
    return await asyncio.to_thread(groups_of, aggregation, selection, found.rows), found.plan


async def _find_obstacle(ctx: Context, dimension: Dimension) -> str | None:
    """Return why contents do not hold an attribute; None if it is a dimension."""
    definition = (await event_types(ctx)).get(dimension.type)
    marked = {each.name: each for each in (definition.attributes if definition else ()) if each.dimension}
    if dimension.path not in marked:
        return NO_DIMENSION
    return OVERFLOWING if marked[dimension.path].overflowing else None
