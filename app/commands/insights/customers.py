"""How many customers there are in a time: distinct passes of events, and how many of them are new."""

from __future__ import annotations

import contextlib
from datetime import datetime

from app.commands.context import Context
from app.domain.errors import InvalidInput
from app.domain.events.event_queries import EventQuery
from app.domain.rollups.covers import Span, cover

from .sealed_customers import ActivePasses, count_sealed


async def count_passes(ctx: Context, query: EventQuery) -> int:
    """Return the number of passes with an event that matches and counts, pending ones included. It is exact.

    Events that walks made count only if `query` names their type. The events are read, so raises InvalidInput with the code
    LIMIT and advice if there are too many. Raises Unavailable; safe to repeat.
    """
    return len(await ctx.workspace.customers.active(query))


async def count_active(ctx: Context, after: datetime, before: datetime) -> ActivePasses:
    """Return how many passes were active in [after, before), and how many of them for the first time. It is exact.

    The whole months in the time are read from what is sealed, all else from events. Raises InvalidInput with the code LIMIT
    and advice if too many events would be read. Raises Unavailable; safe to repeat.
    """
    store, found = ctx.workspace, cover(after, before)
    if found.months and await store.pass_periods.are_marked():
        # Just after an import, too much may be in no sealed month. The events of the time may be fewer.
        with contextlib.suppress(InvalidInput):
            return await count_sealed(store, found, Span(after, before))
    active = await store.customers.active(EventQuery(occurred_after=after, occurred_before=before))
    returning = len(await store.customers.active_before(active, after))
    return ActivePasses(len(active), len(active) - returning, returning)
