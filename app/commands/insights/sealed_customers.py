"""How many customers were active in a time, from sealed months.

Indexes count the passes whose sealed months lie in the time. Passes are decided one by one if they have events at its edges,
events that are pending, or months that changed since they were sealed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.domain.errors import Unavailable
from app.domain.events.events import Event
from app.domain.rollups.active_periods import first_month
from app.domain.rollups.covers import Cover, Span
from app.domain.rollups.periods import ALL_MONTHS, bounds_of, is_month, month_of
from app.domain.values.instants import EARLIEST
from app.store.workspace.active_counts import ActiveCount
from app.store.workspace.customers import CustomerQueries
from app.store.workspace.pass_periods import EventRoom, PassState
from app.store.workspace.workspace import Workspace

MAX_LOOKS = 5
"""Looks at passes that are sealed while they are counted."""


@dataclass(frozen=True, slots=True)
class ActivePasses:
    """Passes with an event of the customer in a time.

    `new` are those of them whose first event lies in the time, `returning` the others. Internal, declined and made events
    are no activity of the customer.
    """

    active: int
    new: int
    returning: int


async def count_sealed(workspace: Workspace, found: Cover, asked: Span) -> ActivePasses:
    """Return the exact numbers of active passes. The cover of the time must have a month.

    Raises InvalidInput with the code LIMIT and advice if too many events are in no sealed month. Raises Unavailable, also if
    passes are sealed all the time; safe to repeat.
    """
    store, room = workspace.pass_periods, EventRoom()
    stale = await store.stale_months(Span(EARLIEST, asked.before), month_of(asked.before), room)
    edges = _Edges(
        found,
        asked,
        extra=_passes_of(await store.events(found.extras, room)),
        trimmed=await store.events(found.trims, room),
    )
    special = {*stale, *edges.passes}
    states = await store.states(special)
    for _ in range(MAX_LOOKS):
        active, new = await _count(workspace, found)
        before, states = states, await store.states(special)
        # What the counts include of these passes is only clear if none of them was sealed meanwhile.
        if {each: state.active for each, state in before.items()} == {each: s.active for each, s in states.items()}:
            break
    else:
        raise Unavailable("store", "passes were sealed while they were counted")
    months = {pass_id: _stale_months(state, stale.get(pass_id, ())) for pass_id, state in states.items()}
    active_here = await _find_active(workspace.customers, edges, states, months)
    returning_here = await _find_returning(workspace.customers, edges, states, months, active_here)
    counted = [state for state in states.values() if state.active & {*found.periods}]
    firsts = [first_month(state.active) for state in states.values()]
    counted_new = [month for month in firsts if month is not None and found.months[0] <= month <= found.months[-1]]
    active += len(active_here) - len(counted)
    new += len(active_here) - len(returning_here) - len(counted_new)
    return ActivePasses(active, new, returning=active - new)


async def _count(workspace: Workspace, found: Cover) -> ActiveCount:
    """Return the stored numbers of a month or year, or count passes by indexes.

    Stored numbers hold each change of a pass that was stored before this call, and none that is stored after it. So they fit
    states of passes that are the same before and after.
    """
    if len(found.periods) == 1:
        stored = await workspace.active_counts.read(found.periods[0])
        if stored is not None:
            return stored
    active = await workspace.pass_periods.count_active(found.periods)
    return ActiveCount(active, await workspace.pass_periods.count_new(found.months[0], found.months[-1]))


@dataclass(frozen=True, slots=True)
class _Edges:
    """Edges of a time: the passes with events of customers in its extras, and the events in its trims."""

    cover: Cover
    asked: Span
    extra: Collection[str]
    trimmed: Sequence[Event]

    @property
    def passes(self) -> set[str]:
        """The passes with an event at an edge."""
        return {*self.extra, *_passes_of(self.trimmed)}

    @property
    def trimmed_months(self) -> set[int]:
        """The used months of which a part lies outside of the time."""
        return {month_of(span.after) for span in self.cover.trims}

    @property
    def trimmed_before(self) -> set[str]:
        """The passes with an event in a used month before the time."""
        return _passes_of(event for event in self.trimmed if event.occurred_at < self.asked.after)

    def inside(self, month: int) -> Span:
        """Return the part of a month that lies in the time."""
        start, end = bounds_of(month)
        return Span(max(start, self.asked.after), min(end, self.asked.before))


async def _find_active(
    customers: CustomerQueries, edges: _Edges, states: Mapping[str, PassState], stale: Mapping[str, Collection[int]]
) -> set[str]:
    """Return those of the passes that are active in the time."""
    found = {pass_id for pass_id in edges.extra if pass_id in states}
    undecided: dict[int, set[str]] = {}
    months = set(edges.cover.months)
    for pass_id, state in states.items():
        doubtful = months & ({*stale[pass_id]} | edges.trimmed_months)
        if ALL_MONTHS in stale[pass_id]:
            doubtful = months
        if state.active & (months - doubtful):
            found.add(pass_id)
        for month in doubtful:
            undecided.setdefault(month, set()).add(pass_id)
    for month in sorted(undecided):
        if left := undecided[month] - found:
            inside = edges.inside(month)
            found |= await customers.active_among(left, inside.after, inside.before)
    return found


async def _find_returning(
    customers: CustomerQueries,
    edges: _Edges,
    states: Mapping[str, PassState],
    stale: Mapping[str, Collection[int]],
    active: Collection[str],
) -> set[str]:
    """Return those of the active passes that have an event before the time."""
    first = month_of(edges.asked.after)
    found = edges.trimmed_before & {*active}
    undecided = set()
    for pass_id in {*active} - found:
        state, doubtful = states[pass_id], stale[pass_id]
        earlier = {month for month in state.active if is_month(month) and month < first}
        if ALL_MONTHS not in doubtful and earlier - {*doubtful}:
            found.add(pass_id)
        else:
            undecided.add(pass_id)
    return found | (await customers.active_before(undecided, edges.asked.after) if undecided else set())


def _passes_of(events: Iterable[Event]) -> set[str]:
    return {event.pass_id for event in events if not event.is_made}


def _stale_months(state: PassState, months: Collection[int]) -> set[int]:
    return {*months, *state.dirty_months}
