"""What the edge is measured against: Strawberry's own endpoint, with nothing before it and no store behind it."""

from __future__ import annotations

from datetime import UTC, datetime

import strawberry
from strawberry.asgi import GraphQL


@strawberry.type
class RateLimit:
    """As large as the product's."""

    limit: int
    remaining: int
    reset_at: datetime
    cost: int


async def _rate_limit() -> RateLimit:
    return RateLimit(limit=10_000_000, remaining=9_999_999, reset_at=datetime(2026, 1, 1, tzinfo=UTC), cost=1)


@strawberry.type
class Query:
    """One small object."""

    rate_limit: RateLimit = strawberry.field(resolver=_rate_limit)


app: GraphQL[None, None] = GraphQL(strawberry.Schema(Query), graphql_ide=None)
