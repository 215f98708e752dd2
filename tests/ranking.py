"""The passes with the greatest values of a time, as the first page of `topPasses` finds them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from app.commands.context import Context
from app.commands.insights.top_passes import PassOrder
from app.domain.insights.threshold import TopPass


async def rank_passes(ctx: Context, measure: str, after: datetime, before: datetime, count: int) -> Sequence[TopPass]:
    """Return the `count` passes with the greatest values in [after, before), greatest first."""
    order = await PassOrder.begin(ctx, measure, after, before)
    await order.extend(count)
    return order.passes[:count]
