"""Exact values of passes in a time: sums of sealed months and years, and the events that are in none of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from app.domain.events.events import Event
from app.domain.rollups.covers import Cover, Span, UsedYear
from app.domain.rollups.periods import ALL_MONTHS, bounds_of, sum_period
from app.domain.values.decimals import ZERO, add, subtract
from app.store.workspace.pass_periods import Content, EventRoom, PassPeriodReads, PassState


@dataclass(frozen=True, slots=True)
class PassValues:
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
    async def of(cls, store: PassPeriodReads, measure: str, found: Cover) -> PassValues:
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
        years = self.cover.years
        summands = {
            pass_id: _cheapest(years, pass_id, state, stale[pass_id], read) for pass_id, state in states.items()
        }
        missing = [each for added, taken in summands.values() for each in (*added, *taken) if each not in read]
        found = await self.store.values(self.measure, missing)

        def value_of(content: Content) -> Decimal:
            return read[content] if content in read else found.get(content, ZERO)

        values = {}
        for pass_id, (added, taken) in summands.items():
            sealed = subtract(_sum(map(value_of, added)), _sum(map(value_of, taken)))
            values[pass_id] = add(sealed, self.edges.get(pass_id, ZERO))
        for pass_id, value in (await self._of_stale_months(stale)).items():
            values[pass_id] = add(values[pass_id], value)
        return values

    def _stale_months(self, pass_id: str, state: PassState) -> set[int]:
        """Return those of the used months that must be read from events."""
        marked = {*self.stale.get(pass_id, ()), *state.dirty_months}
        return set(self.cover.months) if ALL_MONTHS in marked else marked & set(self.cover.months)

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


def _cheapest(
    years: Iterable[UsedYear], pass_id: str, state: PassState, stale: Collection[int], read: Mapping[Content, Decimal]
) -> tuple[list[Content], list[Content]]:
    """Return the contents that are added, and those that are taken away. Of each year, as few as possible must be read."""
    tokens, added, taken = state.tokens, list[Content](), list[Content]()
    for year in years:
        ways = [
            [[Content(pass_id, period, tokens[period]) for period in periods] for periods in way]
            for way in year.ways_to_sum(tokens, stale)
        ]
        plus, minus = ways[0]
        if len(ways) > 1:
            plus, minus = min(ways, key=lambda way: sum(each not in read for part in way for each in part))
        added += plus
        taken += minus
    return added, taken


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
