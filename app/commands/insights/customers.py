"""How many customers there are in a time: distinct passes of events, and how many of them are new."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.commands.context import Context
from app.domain.events.event_queries import EventQuery


@dataclass(frozen=True, slots=True)
class ActivePasses:
    """Passes with an event of the customer in a time.

    `new` are those of them whose first event lies in the time, `returning` the others. Internal, declined and made events
    are no activity of the customer.
    """

    active: int
    new: int
    returning: int


async def count_passes(ctx: Context, query: EventQuery) -> int:
    """Return the number of passes with an event that matches and counts, pending ones included. It is exact.

    Events that walks made count only if `query` names their type. Raises InvalidInput with the code LIMIT and advice if too
    many events would be read. Raises Unavailable; safe to repeat.
    """
    return len(await ctx.workspace.customers.active(query))


async def count_active(ctx: Context, after: datetime, before: datetime) -> ActivePasses:
    """Return how many passes were active in [after, before), and how many of them for the first time. It is exact.

    Raises as `count_passes`.
    """
    active = await ctx.workspace.customers.active(EventQuery(occurred_after=after, occurred_before=before))
    returning = len(await ctx.workspace.customers.active_before(active, after))
    return ActivePasses(len(active), len(active) - returning, returning)
