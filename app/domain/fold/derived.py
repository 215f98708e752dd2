"""What a pass derives from its events: aggregates, measures, profile, points. One more event, or all anew.

Everything here is a function of the *set* of events that count: `rebuild` gives what any order of `apply` had given.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from app.domain.events.events import Event
from app.domain.passes.passes import Pass
from app.domain.passes.profiles import FIELD_EVENTS, apply_field_event, rebuild_profile
from app.domain.state import points
from app.domain.state.aggregates import Aggregates, fold
from app.domain.state.measures import (
    MAX_EXPIRING,
    Measure,
    State,
    Window,
    add_event,
    build_measure,
    expire_window,
    from_aggregates,
    refill_window,
)
from app.domain.state.points import ExpiredLot, order_point_events, points_account_of

from .prefetch import WindowPage


class Derived:
    """The derived figures of one pass in the course of a walk.

    `history` are all events that counted before it, where `needs` asked for them; else it is empty.
    """

    def __init__(self, card: Pass, history: Sequence[Event], pages: Mapping[str, WindowPage]) -> None:
        self._card = card
        self._history = history
        self._applied: list[Event] = []
        self._aggregates = card.aggregates
        self.states: dict[str, State] = dict(card.measures)
        self.profile = card.profile
        self.points_account = points_account_of(card.points, card.lots, card.aggregates)
        self._just_ended: list[ExpiredLot] = []
        self._ended: list[ExpiredLot] = []
        self.updated_at: datetime = card.updated_at
        for key, refill in pages.items():
            state = self.states.get(key)
            if isinstance(state, Window) and state.has_more:
                self.states[key] = refill_window(state, refill.expiring[:MAX_EXPIRING], refill.has_more)

    @property
    def counted(self) -> list[Event]:
        """The events that count by now, as far as they were read: those of the walk always."""
        return [*self._history, *self._applied]

    @property
    def aggregates(self) -> Aggregates:
        """The aggregates by now."""
        return fold(self._aggregates, self._applied) if self._applied else self._aggregates

    def apply(self, event: Event, measures: Iterable[Measure], at_ms: int) -> None:
        """Counts one more event, at the instant `at_ms`; its points are counted with all of that instant."""
        for measure in measures:
            if measure.filter.matches(event):
                state = add_event(measure, self.states.get(measure.key), event, at_ms)
                if state is not None:
                    self.states[measure.key] = state
        self._applied.append(event)
        if event.type in FIELD_EVENTS:
            self.updated_at = max(self.updated_at, event.recorded_at)
            if event.occurred_ms <= self._card.evaluated_until_ms:
                self.profile = rebuild_profile(self._card.initial_profile, self.counted)
            else:
                self.profile = apply_field_event(self.profile, event)

    def expire_points(self, at_ms: int) -> list[ExpiredLot]:
        """Lets go the points whose end has come by `at_ms`."""
        self._just_ended = self.points_account.expire_lots(at_ms)
        return self._just_ended

    def count_points(self, events: Sequence[Event], at_ms: int, before_ms: int) -> list[ExpiredLot]:
        """Counts the points of what was applied at `at_ms`, the first instant visited after `before_ms`.

        Answers the lots that ended in the past, as is known only by now.
        """
        if order_point_events(self.points_account, events, at_ms, before_ms):
            for event in events:
                self.points_account.count(event)
        else:
            self._recount_points(at_ms, first=at_ms > before_ms)
        ended, self._ended = self._ended, []
        return ended

    def remove_events(self, event_ids: Collection[str], measures: Iterable[Measure], at_ms: int) -> list[Event]:
        """The events of these ids that counted until now, and count no longer: everything is built from the others."""
        removed = [event for event in self.counted if event.id in event_ids]
        if removed:
            self._rebuild([event for event in self.counted if event.id not in event_ids], measures, at_ms)
        return removed

    def _rebuild(self, counted: list[Event], measures: Iterable[Measure], at_ms: int) -> None:
        """Everything derived, from all the events that count, as of `at_ms`."""
        self._history, self._applied = counted, []
        self._aggregates = fold({}, counted)
        self.profile = rebuild_profile(self._card.initial_profile, counted)
        self._recount_points(at_ms)
        self.states = {}
        for measure in measures:
            self.begin_measure(measure, at_ms)

    def _recount_points(self, at_ms: int, *, first: bool = False) -> None:
        held = self.points_account.lots or {}
        self.points_account, gone = points.rebuild_account(self.counted, at_ms)
        # What was over before it was known of was never in the balance; what ended now is known for the first time.
        told = {lot.event_id for lot in self._just_ended}
        new = [e for e in gone if e.event_id in held or (first and e.at_ms == at_ms and e.event_id not in told)]
        self._ended += [replace(lot, balance=self.points_account.balance) for lot in new]

    def begin_measure(self, measure: Measure, at_ms: int) -> None:
        """Measures what was not measured before."""
        state = (
            from_aggregates(measure, self.aggregates) if measure.plain else build_measure(measure, self.counted, at_ms)
        )
        if state is not None:
            self.states[measure.key] = state

    def drop_measures(self, keys: Iterable[str]) -> None:
        """Measures no longer what nobody asks."""
        for key in keys:
            self.states.pop(key, None)

    def expire_windows(self, measures: Iterable[Measure], at_ms: int) -> None:
        """Lets go what has left its window by `at_ms`."""
        for measure in measures:
            state = self.states.get(measure.key)
            if measure.within_ms is not None and isinstance(state, Window):
                state = expire_window(state, at_ms - measure.within_ms)
                if state.instants or state.has_more:
                    self.states[measure.key] = state
                else:
                    del self.states[measure.key]
