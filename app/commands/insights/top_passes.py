"""The passes with the greatest values of a measure in a time.

Sealed months and years of passes give the values, and an index their order. What is in no sealed month comes from events:
edges of the time, months that changed since they were sealed, and pending events. So an answer costs what it returns,
however many events there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from app.commands.context import Context
from app.domain.errors import Code, InvalidInput
from app.domain.events.events import Event
from app.domain.insights.threshold import Decide, Read, ThresholdOrder, TopPass
from app.domain.rollups.covers import Cover, Span, cover
from app.domain.rollups.periods import ALL_MONTHS, bounds_of, is_month, months_of, sum_period
from app.domain.values.decimals import ROUNDED, ZERO, add, subtract
from app.store.workspace.pass_periods import (
    MAX_UNSEALED_EVENTS,
    Content,
    EventRoom,
    PassPeriodReads,
    PassState,
    RankedPass,
)

MIN_STREAM_PAGE = 100
"""Values of one month or year that are read at once, at least."""
MAX_STREAM_PAGE = 20_000
"""Values of one month or year that are read at once, at most."""
FIRST_LOW = Decimal(10_000_000)
"""Value at which the first range of values begins if this process has answered no such question before."""
RANGE_RATIO = Decimal("0.6")
LEAST_VALUE = Decimal("0.000001")
"""The least value above 0: amounts and points have at most six places."""
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

    def __init__(self, ctx: Context, measure: str, values: _Values) -> None:
        store, key = ctx.workspace.pass_periods, (ctx.workspace.id, measure)
        self._cache, self._values, self._key = ctx.resources.cache, values, key
        self._streams = [
            _Stream(store, measure, period=each, low=self._cache.ranking_lows.get((*key, each), FIRST_LOW))
            for each in values.cover.periods
        ]
        self._order = ThresholdOrder(len(self._streams))
        self._read: dict[Content, Decimal] = {}

    @classmethod
    async def begin(cls, ctx: Context, measure: str, after: datetime, before: datetime) -> PassOrder:
        """Begin an order. Raises InvalidInput with the code LIMIT and advice if too many events are in no sealed month.

        Raises Unavailable; safe to repeat.
        """
        store = ctx.workspace.pass_periods
        # Until the passes of an earlier version are marked, all is read from events.
        found = cover(after, before) if await store.are_marked() else Cover((), extras=(Span(after, before),), trims=())
        order = cls(ctx, measure, await _Values.of(store, measure, found))
        await order._decide(order._values.changed)
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
            wanted = sum(stream.read for stream in self._streams) // 4
            stream = self._streams[step.number]
            await stream.read_on(min(max(MIN_STREAM_PAGE, wanted), MAX_STREAM_PAGE))
            taken = stream.take()
            self._order.take(step.number, ((each.pass_id, each.value) for each in taken), stream.bound)
            if len(self._read) < MAX_READ_KEPT:
                self._read |= {Content(each.pass_id, stream.period, each.token): each.value for each in taken}
        for stream in self._streams:
            if is_first and stream.last_value is not None:
                self._cache.remember_ranking_low((*self._key, stream.period), stream.last_value)

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


class _Stream:
    """Passes by their values in one month or year, greatest first.

    The values are read in ranges, because the embedded servers read all documents of a range, whatever the limit is. The
    first range begins at the value at which the last question for the period has ended in this process.
    """

    def __init__(self, store: PassPeriodReads, measure: str, *, period: int, low: Decimal) -> None:
        self.period, self.read = period, 0
        self._store, self._measure = store, measure
        self._fresh: list[RankedPass] = []
        self._last: RankedPass | None = None
        self._low, self._has_more, self._empty_ranges = max(low, LEAST_VALUE), True, 0

    @property
    def is_over(self) -> bool:
        """Whether all values above 0 were read."""
        return not self._has_more and self._low == LEAST_VALUE

    @property
    def bound(self) -> Decimal:
        """The greatest value that a pass may have that was not read yet; 0 if all were read."""
        if self.is_over:
            return ZERO
        return self._last.value if self._has_more and self._last is not None else self._low

    @property
    def last_value(self) -> Decimal | None:
        """The least value that was read; None without any."""
        return None if self._last is None else self._last.value

    async def read_on(self, limit: int) -> None:
        """Read the next values, if any are left: at most `limit`."""
        is_found = False
        while not is_found and not self.is_over:
            if not self._has_more:
                lower = ROUNDED.quantize(ROUNDED.multiply(self._low, self._next_ratio()), LEAST_VALUE)
                self._low, self._has_more = max(LEAST_VALUE, lower), True
            found, self._has_more = await self._store.ranked(
                self._measure, self.period, self._last, limit, low=self._low
            )
            is_found = bool(found)
            self._empty_ranges = 0 if found else self._empty_ranges + 1
            self.read += len(found)
            self._fresh += found
            self._last = found[-1] if found else self._last

    def _next_ratio(self) -> Decimal:
        """Return how much lower the next range begins. Below the last value, ranges without any grow."""
        return RANGE_RATIO if self._last is None else RANGE_RATIO ** (1 + self._empty_ranges)

    def take(self) -> list[RankedPass]:
        """Return the values that were read since the last call."""
        taken, self._fresh = self._fresh, []
        return taken


@dataclass(frozen=True, slots=True)
class _Values:
    """Values of passes in the time of a cover.

    `edges` has by pass what the events of extras add, less those of trims. `stale` has by pass the months whose sums are not
    those of all its events.
    """

    store: PassPeriodReads
    measure: str
    cover: Cover
    room: EventRoom
    edges: Mapping[str, Decimal] = field(default_factory=dict)
    stale: Mapping[str, Collection[int]] = field(default_factory=dict)

    @classmethod
    async def of(cls, store: PassPeriodReads, measure: str, found: Cover) -> _Values:
        """Return the values, after a look for what has changed."""
        room = EventRoom()
        stale: dict[str, set[int]] = {}
        if (span := found.span_of_months) is not None:
            stale = await store.stale_months(span, found.months[-1], room)
        edges: dict[str, Decimal] = {}
        for spans, combine in ((found.extras, add), (found.trims, subtract)):
            for pass_id, value in _value_by_pass(await store.events(spans, room), measure).items():
                edges[pass_id] = combine(edges.get(pass_id, ZERO), value)
        return cls(store, measure, found, room, edges=edges, stale=stale)

    @property
    def changed(self) -> set[str]:
        """The passes whose values are not those of sealed months alone."""
        return {*self.edges, *self.stale}

    async def of_passes(self, pass_ids: Collection[str], read: Mapping[Content, Decimal]) -> dict[str, Decimal]:
        """Return the values of passes. `read` are values of contents, valid or not.

        Merged and erased passes are left out.
        """
        states = await self.store.states(pass_ids) if pass_ids else {}
        stale = {pass_id: self._stale_months(pass_id, state) for pass_id, state in states.items()}
        usual = self.cover.periods
        contents = {
            pass_id: [
                Content(pass_id, period, state.tokens[period])
                for period in (self._periods(stale[pass_id]) if stale[pass_id] else usual)
                if period in state.tokens
            ]
            for pass_id, state in states.items()
        }
        missing = [each for own in contents.values() for each in own if each not in read]
        found = await self.store.values(self.measure, missing)
        values = {}
        for pass_id, own in contents.items():
            sealed = _sum(read[each] if each in read else found.get(each, ZERO) for each in own)
            values[pass_id] = add(sealed, self.edges.get(pass_id, ZERO))
        for pass_id, value in (await self._of_stale_months(stale)).items():
            values[pass_id] = add(values[pass_id], value)
        return values

    def _stale_months(self, pass_id: str, state: PassState) -> set[int]:
        """Return those of the used months that must be read from events."""
        marked = {*self.stale.get(pass_id, ()), *state.dirty_months}
        return set(self.cover.months) if ALL_MONTHS in marked else marked & set(self.cover.months)

    def _periods(self, stale: Collection[int]) -> Iterable[int]:
        """Return the months and years whose sums are used. Of a year with a stale month, its other months are."""
        for period in self.cover.periods:
            months = [period] if is_month(period) else months_of(period)
            if not set(months) & set(stale):
                yield period
            elif not is_month(period):
                yield from (month for month in months if month not in stale)

    async def _of_stale_months(self, stale: Mapping[str, Collection[int]]) -> dict[str, Decimal]:
        by_month: dict[int, set[str]] = {}
        for pass_id, months in stale.items():
            for month in months:
                by_month.setdefault(month, set()).add(pass_id)
        total: dict[str, Decimal] = {}
        for month in sorted(by_month):
            events = await self.store.events([Span(*bounds_of(month))], self.room, by_month[month])
            for pass_id, value in _value_by_pass(events, self.measure).items():
                total[pass_id] = add(total.get(pass_id, ZERO), value)
        return total


def _value_by_pass(events: Iterable[Event], measure: str) -> dict[str, Decimal]:
    by_pass: dict[str, list[Event]] = {}
    for event in events:
        by_pass.setdefault(event.pass_id, []).append(event)
    return {pass_id: sum_period(found).values().get(measure, ZERO) for pass_id, found in by_pass.items()}


def _sum(values: Iterable[Decimal]) -> Decimal:
    total = ZERO
    for value in values:
        total = add(total, value)
    return total
