"""Replays: the state that events give in their order, computed again each time that events join between older ones."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from .events import Event
from .ordering import sort_events

State = TypeVar("State")

MIN_BETWEEN_COPIES = 64
"""Events that follow the last copy of the state at least."""


class Replay(Generic[State]):
    """The state that all events of a pass give, in the order in which they count.

    `count` returns the state with one more event. It may change the state that it gets, and `copy` returns a copy that
    such a change leaves as it was. Events for which `is_relevant` is false are left out: they must not change the state.

    The replay keeps copies of the state after a half of the events, three quarters, and so on. So an event that joins
    near the end takes a few steps, however many events there are.
    """

    def __init__(
        self,
        events: Iterable[Event],
        initial: State,
        *,
        count: Callable[[State, Event], State],
        copy: Callable[[State], State],
        is_relevant: Callable[[Event], bool],
    ) -> None:
        self._count, self._copy, self._is_relevant = count, copy, is_relevant
        ordered = sort_events(events)
        # The original of such a correction may join later, and would move the correction.
        self._has_fixed_order = all(map(_has_fixed_order, ordered))
        self._events = list(filter(is_relevant, ordered))
        self._orders = [event.order for event in self._events]
        self._copies: list[tuple[int, State]] = [(0, initial)]
        self._examined = 0

    def join(self, events: Iterable[Event]) -> bool:
        """Add events that count, too, in any order. Return false if only a new replay of all events gives the state."""
        for event in events:
            self._examined += 1
            if not (self._has_fixed_order and _has_fixed_order(event)):
                return False
            if not self._is_relevant(event):
                continue
            index = bisect_left(self._orders, event.order)
            if self._orders[index : index + 1] == [event.order]:
                continue  # The event is among the events already.
            self._events.insert(index, event)
            self._orders.insert(index, event.order)
            while self._copies[-1][0] > index:
                self._copies.pop()
        return True

    def run(self) -> State:
        """Return the state after all events. The caller may change it."""
        begin, state = self._copies[-1]
        state, end = self._copy(state), len(self._events)
        next_copy = begin + (end - begin) // 2
        for index in range(begin, end):
            if index == next_copy and index > begin and end - index >= MIN_BETWEEN_COPIES:
                self._copies.append((index, self._copy(state)))
                next_copy = index + (end - index) // 2
            state = self._count(state, self._events[index])
        self._examined += end - begin
        return state

    def take_examined(self) -> int:
        """Return the number of events that joined, or were counted, since the last call."""
        examined, self._examined = self._examined, 0
        return examined


def _has_fixed_order(event: Event) -> bool:
    return event.correction_of is None or event.corrected_order is not None
