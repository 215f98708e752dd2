"""The passes with the greatest values of a measure in a time.

Sealed months and years of passes give the values, and an index their order. What is in no sealed month comes from events:
edges of the time, months that changed since they were sealed, and pending events. So an answer costs what it returns,
however many events there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal

from app.commands.context import Context
from app.domain.errors import Code, InvalidInput
from app.domain.insights.threshold import Decide, Read, ThresholdOrder, TopPass
from app.domain.rollups.covers import Cover, Span, cover
from app.domain.rollups.twelve_months import TWELVE
from app.store.workspace.pass_periods import MAX_UNSEALED_EVENTS, PERIOD, Content, Ranking

from .pass_values import PassValues
from .value_lists import FIRST_LOW, ChosenLists, MergedLists, ValueList, choose_periods, choose_twelve_months

MIN_STREAM_PAGE = 100
"""Values of one month or year that are read at once, at least."""
MAX_STREAM_PAGE = 20_000
"""Values of one month or year that are read at once, at most."""
MAX_READ_KEPT = 20_000
"""Values that one order keeps, at least one read more, so that they need not be read again with the others of a pass."""
MAX_COMPARED_PASSES = 300_000
"""Passes that one order compares. It holds 60 MB for them."""
SLOW_SIZE = 2_000
"""Passes from which on a step of the order is computed in another thread, so that the API answers others meanwhile."""


class PassOrder:
    """Order of the passes by their values in [after, before), found as far as it is asked for.

    Each value is that of an instant between the beginning of the order and the call that has found it. A pass whose value
    rises meanwhile above the last one in `passes` is left out.
    """

    def __init__(self, ctx: Context, measure: str, values: PassValues, chosen: ChosenLists) -> None:
        self._store, self._key = ctx.workspace.pass_periods, (ctx.workspace.id, measure)
        self._cache, self._values = ctx.resources.cache, values
        self._value_lists = [self._list(Ranking(PERIOD, each)) for each in chosen.periods]
        self._lists: list[ValueList | MergedLists] = [*self._value_lists]
        if chosen.twelve:
            self._value_lists = [self._list(each) for each in chosen.twelve]
            self._lists = [MergedLists(self._value_lists, chosen.last_months)]
        self._order = ThresholdOrder(len(self._lists))
        self._read: dict[Content, Decimal] = {}

    @classmethod
    async def begin(cls, ctx: Context, measure: str, after: datetime, before: datetime) -> PassOrder:
        """Begin an order. Raises InvalidInput with the code LIMIT and advice if too many events are in no sealed month.

        Raises Unavailable; safe to repeat.
        """
        store = ctx.workspace.pass_periods
        # Until the passes of an earlier version are marked, all is read from events.
        found = cover(after, before) if await store.are_marked() else Cover((), extras=(Span(after, before),), trims=())
        values = await PassValues.of(store, measure, found)
        now, chosen = await ctx.now(), None
        if len(found.months) == TWELVE and await _have_twelve_months(ctx):
            chosen = await choose_twelve_months(store, found, now)
        chosen = chosen or await choose_periods(store, measure, found, now)
        order = cls(ctx, measure, values, chosen)
        await order._decide({*values.changed, *chosen.doubtful})
        return order

    @property
    def passes(self) -> Sequence[TopPass]:
        """The passes that are found, greatest value first."""
        return self._order.found

    @property
    def size(self) -> int:
        """The number of passes that it holds."""
        return self._order.size

    async def extend(self, count: int) -> None:
        """Find `count` passes, or all with a value above 0. A repeated call goes on where a failed one has ended.

        Raises InvalidInput with the code LIMIT and advice if more than MAX_COMPARED_PASSES passes would be compared. Raises
        Unavailable; safe to repeat.
        """
        is_first, self._values.room.left = not self._order.found, MAX_UNSEALED_EVENTS
        while (step := await self._next_step(count)) is not None:
            if self.size > MAX_COMPARED_PASSES:
                message = f"More than {MAX_COMPARED_PASSES:,} passes would be compared. Ask for a shorter time."
                raise InvalidInput(Code.LIMIT, message, "input")
            if isinstance(step, Decide):
                await self._decide(step.pass_ids)
                continue
            # A quarter of all that was read: so there are few reads, and little is read in vain.
            wanted = sum(each.read for each in self._lists) // 4
            values = self._lists[step.number]
            await values.read_on(min(max(MIN_STREAM_PAGE, wanted), MAX_STREAM_PAGE))
            taken = values.take()
            self._order.take(step.number, ((each.pass_id, each.value) for each in taken), values.bound)
            if len(self._read) < MAX_READ_KEPT and isinstance(values, ValueList):
                self._read |= {Content(each.pass_id, each.period, each.token): each.value for each in taken}
        for each in self._value_lists:
            if is_first and (low := each.next_low) is not None:
                self._cache.remember_ranking_low((*self._key, each.ranking), low)

    def _list(self, ranking: Ranking) -> ValueList:
        low = self._cache.ranking_lows.get((*self._key, ranking), FIRST_LOW)
        return ValueList(self._store, self._key[1], ranking=ranking, low=low)

    async def _next_step(self, count: int) -> Read | Decide | None:
        if self.size < SLOW_SIZE:
            return self._order.next_step(count)
        running = asyncio.create_task(asyncio.to_thread(self._order.next_step, count))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            # A cancelled call must not leave a thread behind that changes the order: the next call may begin at once.
            await asyncio.wait([running])
            raise

    async def _decide(self, pass_ids: Collection[str]) -> None:
        self._order.decide(pass_ids, await self._values.of_passes(pass_ids, self._read))


async def _have_twelve_months(ctx: Context) -> bool:
    """Return whether each pass has sums of twelve months. The process asks until it is so."""
    cache, workspace = ctx.resources.cache, ctx.workspace
    if workspace.id in cache.summed_workspaces:
        return True
    if has_all := await workspace.pass_periods.have_twelve_months():
        cache.remember_summed(workspace.id)
    return has_all
