"""rateLimit: what is left of the budget of the key that asks."""

from __future__ import annotations

from datetime import datetime, timedelta

import strawberry

from app.clock import SystemClock
from app.graphql.context import Info


@strawberry.type
class RateLimit:
    """The budget of the key: every operation takes what it costs, and points come back by the second."""

    limit: int = strawberry.field(description="The points of a whole budget.")
    remaining: int = strawberry.field(description="The points left, after this operation.")
    reset_at: datetime = strawberry.field(description="When all of them are back, if nothing is spent until then.")
    cost: int = strawberry.field(description="The points that this operation cost.")


async def find_rate_limit(info: Info) -> RateLimit | None:
    """What is left of the budget of the key; null where keys have none."""
    allowance = info.context.allowance
    if allowance is None:
        return None
    # Budgets are about machines: their instants are the system's, whatever the business clock says.
    reset_at = await SystemClock().now() + timedelta(seconds=allowance.full_in_seconds)
    return RateLimit(
        limit=allowance.limit,
        remaining=allowance.remaining,
        reset_at=reset_at.replace(microsecond=reset_at.microsecond // 1000 * 1000),
        cost=allowance.cost,
    )
