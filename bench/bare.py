"""A bare Strawberry endpoint without limits and without a store, as the comparison for the part `edge`."""

from __future__ import annotations

from datetime import UTC, datetime

import strawberry
from strawberry.asgi import GraphQL


@strawberry.type
class RateLimit:
    """Object of the same size as Punchcard's `RateLimit`."""

    limit: int
    remaining: int
    reset_at: datetime
    cost: int


async def _rate_limit() -> RateLimit:
    return RateLimit(limit=10_000_000, remaining=9_999_999, reset_at=datetime(2026, 1, 1, tzinfo=UTC), cost=1)


@strawberry.type
class Query:
    """Root type with one small object."""

    rate_limit: RateLimit = strawberry.field(resolver=_rate_limit)


app: GraphQL[None, None] = GraphQL(strawberry.Schema(Query), graphql_ide=None)
