"""Pages of the passes with the greatest values. The pages after the first one share an order, which is kept for a while."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from app.commands.context import Context
from app.domain.errors import Code, InvalidInput
from app.domain.events.event_queries import EventQuery
from app.domain.events.spend import SPEND_CATEGORY
from app.domain.rollups.periods import COUNT, POINTS, SPEND
from app.domain.state.aggregations import AMOUNT, Aggregation, Function, GroupBy
from app.domain.state.ranking import GroupOrder, Ranking

from .top_passes import TopPass, rank_passes

MAX_RANKED_PASSES = 10_000
"""Passes that one order has."""
RANKING_TTL_SECONDS = 60.0
"""How long a process keeps an order for the pages after the first one."""


class TopBy(StrEnum):
    """What passes are compared by."""

    SPEND = "SPEND"
    COUNT = "COUNT"
    POINTS = "POINTS"


@dataclass(frozen=True, slots=True)
class RankingQuestion:
    """Question for the passes with the greatest values in [after, before).

    `currency` is that of the spend, and None for other comparisons. Without `types`, all events count. The period of a
    rolling question ends now: the one of the next page begins and ends a little later.
    """

    by: TopBy
    after: datetime
    before: datetime
    currency: str | None = None
    types: tuple[str, ...] = ()
    is_rolling: bool = False

    @property
    def key(self) -> Hashable:
        """What the questions for all pages of one order have in common."""
        period = self.before - self.after if self.is_rolling else (self.after, self.before)
        return self.by, period, self.currency, self.types

    @property
    def measure(self) -> str:
        """The measure of sealed months."""
        if self.by is TopBy.SPEND:
            return SPEND + str(self.currency)
        return COUNT if self.by is TopBy.COUNT else POINTS


@dataclass(frozen=True, slots=True)
class RankedPass:
    """Pass with its value and its position in the order, from 1."""

    rank: int
    pass_id: str
    value: Decimal


async def read_ranking(
    ctx: Context, question: RankingQuestion, limit: int, after: RankedPass | None
) -> tuple[list[RankedPass], bool]:
    """Return at most `limit` passes of the order, after one that was returned before, and whether more follow.

    The first page is computed from the present. The following ones come from one order, which this process keeps for
    RANKING_TTL_SECONDS. If `after` is in it no more, the page begins after its rank. Raises InvalidInput, with advice, as
    `rank_passes` does, and UNSUPPORTED for points of some types. Raises Unavailable; safe to repeat.
    """
    if after is None:
        found = await _rank(ctx, question, limit + 1)
        return _number(found[:limit], 1), len(found) > limit
    order = await _read_order(ctx, question)
    same = (index for index, each in enumerate(order) if (each.pass_id, each.value) == (after.pass_id, after.value))
    start = next(same, after.rank - 1) + 1
    return _number(order[start : start + limit], start + 1), len(order) > start + limit


async def _read_order(ctx: Context, question: RankingQuestion) -> Sequence[TopPass]:
    orders, now = ctx.resources.cache.rankings, time.monotonic()
    key = (ctx.workspace.id, question.key)
    found = orders.get(key)
    if found is None or found[1] <= now:
        order = await _rank(ctx, question, MAX_RANKED_PASSES)
        found = ctx.resources.cache.remember_ranking(key, order, now + RANKING_TTL_SECONDS)
    return found[0]


async def _rank(ctx: Context, question: RankingQuestion, count: int) -> list[TopPass]:
    if not question.types:
        return await rank_passes(ctx, question.measure, question.after, question.before, count)
    if question.by is TopBy.POINTS:
        message = "Leave out `types`: points are kept for all events together."
        raise InvalidInput(Code.UNSUPPORTED, message, "input", "types")
    is_spend = question.by is TopBy.SPEND
    query = EventQuery(
        types=question.types,
        categories=[SPEND_CATEGORY] if is_spend else (),
        currency=question.currency,
        occurred_after=question.after,
        occurred_before=question.before,
    )
    function, field = (Function.SUM, AMOUNT) if is_spend else (Function.COUNT, None)
    aggregation = Aggregation(function, field, (GroupBy.PASS,))
    groups = await ctx.workspace.aggregations.groups(query, aggregation, count, Ranking(GroupOrder.VALUE))
    return [TopPass(str(group.key[0]), group.value) for group in groups if group.value is not None and group.value > 0]


def _number(found: Sequence[TopPass], first: int) -> list[RankedPass]:
    return [RankedPass(rank, each.pass_id, each.value) for rank, each in enumerate(found, first)]
