"""Steps that a customer took one after the other: a purchase, then a refund within 14 days.

The state has for each step the latest event that completed it. That is enough for events in order: what completes the next
step is an event after any event that completed this one, at most so long after it. The latest one is the best of them.

An event that comes out of order may complete an earlier step, and events after it may then complete later ones. So the state
is built anew from all events, unless it shows that the late event completes nothing, or that nothing builds upon it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from app.domain.events.events import Category, Event

from .completed import Completed, Key
from .measures import Measure, OrderedMeasure, State


@dataclass(frozen=True)
class SequenceMeasure(OrderedMeasure):
    """Question which steps of a sequence were completed.

    `steps` are the counts of the events of each step. `gaps_ms` has the longest time from each step to the next one; None
    for any time.
    """

    steps: tuple[Measure, ...] = ()
    gaps_ms: tuple[int | None, ...] = ()

    @cached_property
    def key(self) -> str:
        """The key under which the state is stored."""
        return self.make_key(("sequence", tuple(step.key for step in self.steps), self.gaps_ms))

    @cached_property
    def reads_metadata(self) -> bool:
        """Whether the state depends on the metadata of events."""
        return any(step.reads_metadata for step in self.steps)

    @cached_property
    def counts_made(self) -> bool:
        """Whether events that rules made may complete a step."""
        return any(step.counts_made for step in self.steps)

    @property
    def can_use_aggregates(self) -> bool:
        """Whether the state follows from the aggregates of the pass: never."""
        return False

    def matches(self, event: Event) -> bool:
        """Return whether the event may complete a step."""
        return any(step.matches(event) for step in self.steps)

    def names_type(self, event_type: str) -> bool:
        """Return whether events of the type may complete a step."""
        return any(step.names_type(event_type) for step in self.steps)

    def may_match(self, kind: str, category: Category, currency: str | None) -> bool:
        """Return whether events of this type, category and currency may complete a step."""
        return any(step.may_match(kind, category, currency) for step in self.steps)

    def is_in_doubt(self, state: State | None, event: Event) -> bool:
        """Return whether the state with one more matching event takes all events that count."""
        if not isinstance(state, Completed) or all(seen is None or seen < _key(event) for seen in state.seen):
            return False
        return any(self._is_step_in_doubt(state, index, event) for index in self._matching(event))

    def _is_step_in_doubt(self, state: Completed, index: int, event: Event) -> bool:
        key, reached, later = _key(event), state.steps[index], state.steps[index:]
        before = state.steps[index - 1] if index else None
        # Of several events that completed the step before, only the latest is stored.
        is_certain = index == 0 or before is None or before < key
        if index and (before is None or (is_certain and not self._is_in_time(before, index, event))):
            return False
        is_older = reached is not None and reached > key
        following = state.seen[index + 1] if index + 1 < len(self.steps) else None
        if following is None or following < key:
            return not (is_certain or is_older)
        # A later event of the next step may build upon this one, unless a later chain is complete already.
        return not (is_older and None not in later and all(a < b for a, b in pairwise(filter(None, later))))

    def add(self, state: State | None, event: Event) -> State | None:
        """Return the state with one more matching event. What an event in doubt completes is left out."""
        key = _key(event)
        none: tuple[Key | None, ...] = (None,) * len(self.steps)
        old = state if isinstance(state, Completed) else Completed(none, none)
        steps, seen = list(old.steps), list(old.seen)
        # From the last step to the first, because one event does not complete two steps of one chain.
        for index in reversed(self._matching(event)):
            before = steps[index - 1] if index else None
            if index == 0 or (before is not None and before < key and self._is_in_time(before, index, event)):
                steps[index] = _later(steps[index], key)
            seen[index] = _later(seen[index], key)
        return Completed(tuple(steps), tuple(seen))

    def build(self, events: Iterable[Event]) -> State | None:
        """Return the state of all events that count, in any order."""
        state: State | None = None
        for event in sorted(filter(self.matches, events), key=_key):
            state = self.add(state, event)
        return state

    def _matching(self, event: Event) -> list[int]:
        return [index for index, step in enumerate(self.steps) if step.matches(event)]

    def _is_in_time(self, before: Key, index: int, event: Event) -> bool:
        gap_ms = self.gaps_ms[index - 1]
        return gap_ms is None or event.occurred_ms - before[0] <= gap_ms


def _later(a: Key | None, b: Key) -> Key:
    return b if a is None else max(a, b)


def _key(event: Event) -> Key:
    return event.occurred_ms, event.step, event.id
