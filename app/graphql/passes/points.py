"""Expiry of points: when the points of a pass leave its balance."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

import strawberry

from app.domain.errors import Code, InvalidInput
from app.domain.passes.passes import Pass
from app.domain.state.lots import find_expiries
from app.domain.values.instants import from_ms
from app.graphql.context import RequestContext

MAX_EXPIRIES = 100


@strawberry.type
class PointsExpiring:
    """Points that expire at the same instant."""

    points: Decimal = strawberry.field(
        description="Number of points that leave the balance. Points that were spent are not included."
    )
    expires_at: datetime = strawberry.field(
        description="Instant of the expiry. Points that expire after days without activity expire later if the pass "
        "has an event before."
    )


FirstExpiries = Annotated[
    int,
    strawberry.argument(description=f"Number of instants to return, soonest first: 0 to {MAX_EXPIRIES}. Default: 10."),
]


async def find_points_expiring(context: RequestContext, card: Pass, first: int) -> list[PointsExpiring]:
    """Return the next expiries of the pass, one item for each instant, soonest first. Raises InvalidInput."""
    if not 0 <= first <= MAX_EXPIRIES:
        raise InvalidInput(Code.OUT_OF_RANGE, f"`first` must be between 0 and {MAX_EXPIRIES}.", "first")
    expiries = find_expiries(await context.load.lots.load(card.id), card.aggregates)[:first]
    return [PointsExpiring(points=points, expires_at=from_ms(at_ms)) for at_ms, points in expiries]
