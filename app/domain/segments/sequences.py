"""Sequences: criteria on steps that a customer took one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from app.domain.state.completed import Completed
from app.domain.state.measures import EventFilter, Measure, State
from app.domain.state.sequences import SequenceMeasure
from app.domain.values.conditions import MEANING
from app.domain.values.instants import DAY_MS
from app.domain.values.windows import within_dict

MIN_STEPS, MAX_STEPS = 2, 5
"""Steps of a sequence."""
MAX_STEP_DAYS = 3_660
"""Days that may pass between two steps."""


@dataclass(frozen=True)
class SequenceStep:
    """Step of a sequence: an event of the filter, at most `within_days` days after the step before; None for any time."""

    filter: EventFilter
    within_days: int | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the step as the store and the API write it."""
        event = {**self.filter.lists(), "currency": self.filter.currency}
        return {"event": event, "withinDays": self.within_days}


@dataclass(frozen=True)
class SequenceCriterion:
    """Steps that were taken in order, each by a later event. The last one is no older than `within_ms`; None for any age.

    `meaning` is that of the conditions, as the definition was stored with it.
    """

    steps: tuple[SequenceStep, ...]
    within_ms: int | None = None
    meaning: int = MEANING

    @cached_property
    def measure(self) -> SequenceMeasure:
        """The measure that answers this criterion."""
        return SequenceMeasure(
            EventFilter(),
            meaning=self.meaning,
            steps=tuple(Measure(step.filter, meaning=self.meaning) for step in self.steps),
            gaps_ms=tuple(None if step.within_days is None else step.within_days * DAY_MS for step in self.steps[1:]),
        )

    def to_dict(self) -> dict[str, object]:
        """Return the criterion as the store and the API write it."""
        within = None if self.within_ms is None else within_dict(self.within_ms)
        return {"sequence": {"steps": [step.to_dict() for step in self.steps], "within": within}}

    def count_steps(self, state: State | None, at_ms: int) -> int:
        """Return the number of steps that are taken at an instant: all of them, or as many as may still be continued."""
        if not isinstance(state, Completed):
            return 0
        limits = (*self.measure.gaps_ms, self.within_ms)
        for index in reversed(range(len(self.steps))):
            reached, limit = state.steps[index], limits[index]
            is_last = index == len(self.steps) - 1
            if reached is None:
                continue
            # A window of length N at T is (T - N, T], and the next step may come N later at the latest.
            if limit is None or at_ms - reached[0] < limit or (at_ms - reached[0] == limit and not is_last):
                return index + 1
        return 0

    def holds(self, state: State | None, at_ms: int) -> bool:
        """Return whether all steps are taken at an instant."""
        return self.count_steps(state, at_ms) == len(self.steps)

    def next_change_ms(self, state: State | None, at_ms: int) -> int | None:
        """Return the instant after `at_ms` at which the result changes by time alone; None for never."""
        if self.within_ms is None or not isinstance(state, Completed) or state.steps[-1] is None:
            return None
        end_ms = state.steps[-1][0] + self.within_ms
        return end_ms if end_ms > at_ms else None
