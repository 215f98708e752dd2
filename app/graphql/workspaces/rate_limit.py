"""The type RateLimit and the query rateLimit: the budget of the API key of the request."""

from __future__ import annotations

from datetime import datetime, timedelta

import strawberry

from app.clock import SystemClock
from app.graphql.context import Info


@strawberry.type
class RateLimit:
    """Budget of the API key, in points. Each operation spends its cost, and spent points come back every second."""

    limit: int = strawberry.field(description="Number of points in a full budget.")
    remaining: int = strawberry.field(description="Number of points left after this operation.")
    reset_at: datetime = strawberry.field(
        description="Time at which the budget is full again if nothing more is spent, in system time."
    )
    cost: int = strawberry.field(description="Number of points that this operation cost.")


async def find_rate_limit(info: Info) -> RateLimit | None:
    """Return the budget of the API key of the request; null if the installation has no budgets.

    Needs the scope `read`.
    """
    allowance = info.context.allowance
    if allowance is None:
        return None
    # Budgets use system time: they must refill while a manual business clock stands still.
    reset_at = await SystemClock().now() + timedelta(seconds=allowance.full_in_seconds)
    return RateLimit(
        limit=allowance.limit,
        remaining=allowance.remaining,
        reset_at=reset_at.replace(microsecond=reset_at.microsecond // 1000 * 1000),
        cost=allowance.cost,
    )
