"""Pages of the passes with the greatest values. The pages after the first one share an order, which is kept for a while."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from app.commands.context import Context
from app.domain.errors import Code, InvalidInput
from app.domain.events.event_queries import EventQuery
from app.domain.events.spend import SPEND_CATEGORY
from app.domain.insights.threshold import TopPass
from app.domain.rollups.periods import COUNT, POINTS, SPEND
from app.domain.state.aggregations import AMOUNT, Aggregation, Function, GroupBy
from app.domain.state.ranking import GroupOrder, Ranking

from .top_passes import PassOrder

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


class Order(Protocol):
    """Order of passes that is found as far as it is asked for."""

    @property
    def passes(self) -> Sequence[TopPass]:
        """The passes that are found, greatest value first."""

    @property
    def size(self) -> int:
        """The number of passes that it holds."""

    async def extend(self, count: int) -> None:
        """Find `count` passes, or all. Raises InvalidInput or Unavailable; a repeat goes on where it has ended."""


async def read_ranking(
    ctx: Context, question: RankingQuestion, limit: int, after: RankedPass | None
) -> tuple[list[RankedPass], bool]:
    """Return at most `limit` passes of the order, after one that was returned before, and whether more follow.

    The first page is computed from the present. The following ones come from one order, which this process keeps for
    RANKING_TTL_SECONDS. If `after` is in it no more, the page begins after its rank. Raises InvalidInput, with advice, as
    `PassOrder` does, and UNSUPPORTED for points of some types. Raises Unavailable; safe to repeat.
    """
    kept, key = ctx.resources.cache.rankings, (ctx.workspace.id, question.key)
    if after is None:
        order = await _begin(ctx, question)
        await order.extend(limit + 1)
        # Pages that others read go on in the order in which they have begun.
        if kept.get(*key) is None:
            kept.keep(*key, order, RANKING_TTL_SECONDS)
        found = order.passes
        return _number(found[:limit], 1), len(found) > limit
    # Requests for pages of one order wait for each other, so that its values are read once.
    async with kept.lock(*key):
        order = kept.get(*key) or kept.keep(*key, await _begin(ctx, question), RANKING_TTL_SECONDS)
        await order.extend(min(after.rank + limit + 1, MAX_RANKED_PASSES))
        kept.shrink()
        start = _index_of(order.passes, after) + 1
        # In another order, the pass may have a later rank.
        await order.extend(min(start + limit + 1, MAX_RANKED_PASSES))
        number = min(len(order.passes), MAX_RANKED_PASSES)
        found = order.passes[start : min(start + limit, number)]
    return _number(found, start + 1), number > start + limit


class _EventOrder:
    """Order of the passes by their events of some types, which the store aggregates.

    The first call of `extend` finds the passes of the first page, and the second one all that can be paged through.
    """

    def __init__(self, ctx: Context, question: RankingQuestion) -> None:
        self.passes: list[TopPass] = []
        self._ctx, self._question, self._asked = ctx, question, 0

    @property
    def size(self) -> int:
        """The number of passes that it holds."""
        return len(self.passes)

    async def extend(self, count: int) -> None:
        """Aggregate the events, unless the passes are found.

        Raises OperationTooLarge or Throttled if reading costs the running operation too much. Raises Unavailable.
        """
        if len(self.passes) >= count or len(self.passes) < self._asked:
            return
        count = MAX_RANKED_PASSES if self._asked else count
        question = self._question
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
        groups = await self._ctx.workspace.aggregations.groups(query, aggregation, count, Ranking(GroupOrder.VALUE))
        self.passes = [
            TopPass(str(group.key[0]), group.value) for group in groups if group.value is not None and group.value > 0
        ]
        self._asked = count


async def _begin(ctx: Context, question: RankingQuestion) -> Order:
    if not question.types:
        return await PassOrder.begin(ctx, question.measure, question.after, question.before)
    if question.by is TopBy.POINTS:
        message = "Leave out `types`: points are kept for all events together."
        raise InvalidInput(Code.UNSUPPORTED, message, "input", "types")
    return _EventOrder(ctx, question)


def _index_of(passes: Sequence[TopPass], last: RankedPass) -> int:
    """Return the index of a pass that was returned, or that of its rank if it is not there with this value."""
    wanted = TopPass(last.pass_id, last.value)
    if passes[last.rank - 1 : last.rank] == [wanted]:
        return last.rank - 1
    return next((index for index, each in enumerate(passes) if each == wanted), last.rank - 1)


def _number(found: Sequence[TopPass], first: int) -> list[RankedPass]:
    return [RankedPass(rank, each.pass_id, each.value) for rank, each in enumerate(found, first)]
