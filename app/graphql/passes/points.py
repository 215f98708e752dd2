"""Points: when those of a pass end."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

import strawberry

from app.domain.errors import Code, InvalidInput
from app.domain.passes.passes import Pass
from app.domain.state.points import endings
from app.domain.values.instants import from_ms
from app.graphql.context import RequestContext

MAX_ENDS = 100


@strawberry.type
class PointsExpiring:
    """Points that end together."""

    points: Decimal = strawberry.field(description="How many points leave the balance.")
    expires_at: datetime = strawberry.field(
        description="When they do. Points that end days after the last activity end later if something happens before."
    )


FirstEndings = Annotated[
    int, strawberry.argument(description="How many instants to answer, the soonest first: 1 to 100.")
]


async def points_expiring(context: RequestContext, card: Pass, first: int) -> list[PointsExpiring]:
    """What of the balance ends next, one item an instant, soonest first; what was spent is not in it."""
    if not 1 <= first <= MAX_ENDS:
        raise InvalidInput(Code.OUT_OF_RANGE, f"Between 1 and {MAX_ENDS}.", "first")
    found = endings(await context.load.lots.load(card.id), card.aggregates)[:first]
    return [PointsExpiring(points=points, expires_at=from_ms(at_ms)) for at_ms, points in found]
