"""Expiry of points: when the points of a pass leave its balance."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

import strawberry

from app.domain.errors import Code, InvalidInput
from app.domain.passes.passes import Pass
from app.domain.state.earned import PointTotals
from app.domain.state.lots import find_expiries
from app.domain.values.decimals import ZERO
from app.domain.values.instants import from_ms
from app.graphql.context import Info, RequestContext

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


@strawberry.type
class PassPoints:
    """Points of a pass: the present ones, and totals over all time.

    What was earned and what was transferred are the balance, the pending points, what was spent and what expired, together.
    """

    card: strawberry.Private[Pass]

    @strawberry.field
    def balance(self) -> Decimal:
        """Balance, as in `Pass.pointsBalance`."""
        return self.card.points

    @strawberry.field
    def pending(self) -> Decimal:
        """Points that rules awarded and that enter the balance later."""
        return sum((each.points for each in self.card.pending_points.values()), ZERO)

    @strawberry.field
    async def earned_total(self, info: Info) -> Decimal:
        """Points given in all, less what was taken back with a return.

        Pending points count, and points that other passes sent do not.
        """
        return (await self._totals(info)).earned

    @strawberry.field
    async def spent_total(self, info: Info) -> Decimal:
        """Points redeemed or deducted in all, less what was given back."""
        return (await self._totals(info)).spent

    @strawberry.field
    async def transferred_total(self, info: Info) -> Decimal:
        """Points that other passes sent to this one, less those that it sent to others. Negative if it sent more."""
        return (await self._totals(info)).transferred

    @strawberry.field
    async def expired_total(self, info: Info) -> Decimal:
        """Points that expired, less those whose award was taken back afterwards."""
        return (await self._totals(info)).expired

    @strawberry.field
    async def expiring(self, info: Info, first: FirstExpiries = 10) -> list[PointsExpiring]:
        """Next expiries, as in `Pass.pointsExpiring`."""
        return await find_points_expiring(info.context, self.card, first)

    async def _totals(self, info: Info) -> PointTotals:
        workspace, pass_id = info.context.workspace, self.card.id

        async def read() -> PointTotals:
            card = await workspace.passes.complete(pass_id)
            return PointTotals(ZERO, ZERO) if card is None else await workspace.aggregations.points_of(card)

        return await info.context.read_once(info, ("point totals", pass_id), read)


async def find_points_expiring(context: RequestContext, card: Pass, first: int) -> list[PointsExpiring]:
    """Return the next expiries of the pass, one item for each instant, soonest first. Raises InvalidInput."""
    if not 0 <= first <= MAX_EXPIRIES:
        raise InvalidInput(Code.OUT_OF_RANGE, f"`first` must be between 0 and {MAX_EXPIRIES}.", "first")
    expiries = find_expiries(await context.load.lots.load(card.id), card.aggregates)[:first]
    return [PointsExpiring(points=points, expires_at=from_ms(at_ms)) for at_ms, points in expiries]
