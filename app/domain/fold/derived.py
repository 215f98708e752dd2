"""Values that a pass derives from its events: aggregates, measures, profile and points.

All of them are functions of the *set* of events that count. So a rebuild from all events gives the same values as
applying the events one by one, in any order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from app.domain.events.events import INSTALLED, RULE_FIRED, Event
from app.domain.events.ordering import is_made_here, sort_events
from app.domain.passes.passes import Pass
from app.domain.passes.profiles import FIELD_EVENTS, UPDATES, apply_field_event, first_installation, rebuilds_profile
from app.domain.rollups.periods import changes_month, month_of
from app.domain.state.accounts import points_account_of
from app.domain.state.aggregates import Aggregates, fold_events
from app.domain.state.firings import RuleFirings, add_firing
from app.domain.state.from_rows import from_aggregates
from app.domain.state.lots import ExpiredLot, Matured
from app.domain.state.measures import Measure, OrderedMeasure, State, add_event, build_measure, expire_state
from app.domain.state.points_in_order import can_count_in_order
from app.domain.state.redeemed import RedeemedRewards, add_redeemed, count_redeemed
from app.domain.state.refilling import refill
from app.domain.values.instants import to_ms

from .lacks import DataMissing
from .prefetch import WindowPage, may_match
from .replaying import Replays


class Derived:
    """Derived values of one pass during a walk.

    `history` holds all events that counted before the walk, or is None if it was not read.
    """

    def __init__(self, card: Pass, history: Sequence[Event] | None, pages: Mapping[str, WindowPage]) -> None:
        self._card = card
        # Without aggregates, nothing has counted in the pass yet.
        self._history = () if history is None and not card.has_counted else history
        self._applied: list[Event] = []
        self._replays = Replays(card.initial_profile)
        self._examined = 0
        # Events that counted during the walk, by the root of their family.
        self.families: dict[str, list[Event]] = {}
        self.removed_ids: set[str] = set()
        # Months of the events that the walk counted or removed.
        self._changed_months: set[int] = set()
        # Measures whose states late events of the instant being visited put in doubt.
        self._doubted: dict[str, OrderedMeasure] = {}
        self._aggregates, self._made_aggregates = card.aggregates, card.made_aggregates
        self.firings: RuleFirings = card.firings
        self.redeemed: RedeemedRewards = card.redeemed
        self.states: dict[str, State] = dict(card.measures)
        self.profile = card.profile
        self._first_installed_at = first_installation(card.aggregates, card.made_aggregates)
        self.points_account = points_account_of(card.points, card.lots, card.aggregates, card.pending_points)
        # Lots that expired at the instant being visited, and expired lots that only a recount found.
        self._expired_now: list[ExpiredLot] = []
        self._expired_by_recount: list[ExpiredLot] = []
        self.updated_at: datetime = card.updated_at
        for key, page in pages.items():
            state = self.states.get(key)
            if state is not None:
                self.states[key] = refill(state, page.after_ms, page.expiring, has_more=page.has_more)

    @property
    def counted(self) -> list[Event]:
        """The events that count now: the history, and the events that the walk applied.

        Raises DataMissing if the history was not read.
        """
        if self._history is None:
            raise DataMissing(history=True)
        return [*self._history, *self._applied]

    @property
    def dirty_months(self) -> frozenset[int]:
        """The months that must be sealed. It is the same object as before if the walk has changed none."""
        if not self._changed_months:
            return self._card.dirty_months
        return self._card.dirty_months | self._changed_months

    @property
    def aggregates(self) -> Aggregates:
        """The aggregates with the events that the walk applied, less those that rules made."""
        recorded = [event for event in self._applied if not event.is_made]
        return fold_events(self._aggregates, recorded) if recorded else self._aggregates

    @property
    def made_aggregates(self) -> Aggregates:
        """The aggregates of the events that rules made."""
        made = [event for event in self._applied if event.is_made]
        return fold_events(self._made_aggregates, made) if made else self._made_aggregates

    @property
    def installed_at(self) -> datetime | None:
        """The instant of the installation: as given at the creation of the pass, else that of the first event."""
        return self._card.given_installed_at or self._first_installed_at

    @property
    def installed_by_event(self) -> bool:
        """Whether `installed_at` is the instant of an event."""
        return self._card.given_installed_at is None and self._first_installed_at is not None

    @property
    def joined_ms(self) -> int:
        """The instant at which the customer joined: the installation, else the creation of the pass."""
        return to_ms(self.installed_at or self._card.created_at)

    def apply(self, event: Event, measures: Iterable[Measure], at_ms: int) -> None:
        """Count one more event at the instant `at_ms`, except its points; see `count_points` and `build_doubted`.

        `measures` are those in which events of its type may count.
        """
        self.families.setdefault(event.family, []).append(event)
        for measure in measures:
            if measure.key in self._doubted or not measure.matches(event):
                continue
            state = self.states.get(measure.key)
            if isinstance(measure, OrderedMeasure) and measure.is_in_doubt(state, event):
                self._doubted[measure.key] = measure
                continue
            state = add_event(measure, state, event, at_ms)
            if state is not None:
                self.states[measure.key] = state
        self._applied.append(event)
        self._note_months([event])
        if event.type == RULE_FIRED:
            self.firings = add_firing(self.firings, event)
        self.redeemed = add_redeemed(self.redeemed, event)
        if event.type == INSTALLED:
            self._first_installed_at = min(self._first_installed_at or event.occurred_at, event.occurred_at)
        if event.type in FIELD_EVENTS:
            if event.type in UPDATES:
                self.updated_at = max(self.updated_at, event.recorded_at)
            if not (event.is_made and is_made_here(event)) and rebuilds_profile(event, self._card.evaluated_until_ms):
                self.profile = self._replays.profile(self.counted)
            else:
                self.profile = apply_field_event(self.profile, event)

    def take_examined(self) -> int:
        """Return the number of events of the history that were examined since the last call."""
        examined = self._examined + self._replays.take_examined()
        self._examined = 0
        return examined

    def build_doubted(self) -> None:
        """Build the states that late events put in doubt, once for all events of an instant."""
        if not self._doubted:
            return
        counted, doubted = self.counted, self._doubted
        self._doubted = {}
        for key, measure in doubted.items():
            state = measure.build(counted)
            if state is not None:
                self.states[key] = state
        self._examined += len(counted) * len(doubted)

    def pass_time(self, at_ms: int) -> tuple[list[ExpiredLot], list[Matured]]:
        """Let lots expire and pending points mature until `at_ms`, and return both."""
        self._expired_now, matured = self.points_account.pass_time(at_ms)
        return self._expired_now, matured

    def count_points(self, events: Sequence[Event], at_ms: int, before_ms: int) -> list[ExpiredLot]:
        """Count the points of the events applied at `at_ms`. The walk visited `before_ms` before this instant.

        Return the expired lots that only a recount found.
        """
        if can_count_in_order(self.points_account, events, at_ms, before_ms):
            for event in events:
                self.points_account.count(event)
        else:
            self._recount_points(at_ms, is_first_visit=at_ms > before_ms)
        expired, self._expired_by_recount = self._expired_by_recount, []
        return expired

    def remove_events(self, event_ids: Collection[str], measures: Iterable[Measure], at_ms: int) -> list[Event]:
        """Rebuild all values without these events, and return those of them that counted until now, in their order."""
        # Without the ids of events, the history was not read: the tombstone removes the pass.
        removed = sort_events(event for event in self.counted if event.id in event_ids) if event_ids else []
        self.removed_ids |= {event.id for event in removed}
        self._note_months(removed)
        if removed:
            self._rebuild([event for event in self.counted if event.id not in event_ids], measures, at_ms)
        return removed

    def _note_months(self, events: Iterable[Event]) -> None:
        self._changed_months.update(month_of(event.occurred_at) for event in events if changes_month(event))

    def _rebuild(self, counted: list[Event], measures: Iterable[Measure], at_ms: int) -> None:
        """Rebuild all values at `at_ms`, from all events that count."""
        self._history, self._applied, self._doubted = counted, [], {}
        self._replays.forget()
        self._examined += len(counted)
        self._aggregates = fold_events({}, (event for event in counted if not event.is_made))
        self._made_aggregates = fold_events({}, (event for event in counted if event.is_made))
        self.redeemed = count_redeemed(counted)
        self.profile = self._replays.profile(counted)
        self._first_installed_at = first_installation(self._aggregates, self._made_aggregates)
        self._recount_points(at_ms)
        self.states = {}
        for measure in measures:
            self.begin_measure(measure, at_ms)

    def _recount_points(self, at_ms: int, *, is_first_visit: bool = False) -> None:
        lots_before = self.points_account.lots or {}
        self.points_account, expired = self._replays.account(self.counted, at_ms)
        # Report a lot only if its points were in the balance, or if it expires at this instant and is not reported yet.
        # A lot that had expired before its event was folded was never in the balance.
        reported = {lot.event_id for lot in self._expired_now}
        to_report = [
            lot
            for lot in expired
            if lot.event_id in lots_before or (is_first_visit and lot.at_ms == at_ms and lot.event_id not in reported)
        ]
        self._expired_by_recount += [replace(lot, balance=self.points_account.balance) for lot in to_report]

    def begin_measure(self, measure: Measure, at_ms: int) -> None:
        """Build the state of a measure that the pass did not store before."""
        if measure.can_use_aggregates:
            state = from_aggregates(measure, self.aggregates, self.made_aggregates)
        elif not may_match(measure, self.aggregates, self.made_aggregates):
            state = None
        else:
            counted = self.counted
            self._examined += len(counted)
            state = build_measure(measure, counted, at_ms)
        if state is not None:
            self.states[measure.key] = state

    def drop_measures(self, keys: Iterable[str]) -> None:
        """Remove the states of measures that no definition uses any more."""
        for key in keys:
            self.states.pop(key, None)
            self._doubted.pop(key, None)

    def expire_windows(self, measures: Iterable[Measure], at_ms: int) -> None:
        """Remove from each window the events, or the periods, that have left it at `at_ms`."""
        for measure in measures:
            state = self.states.get(measure.key)
            if state is not None:
                expired = expire_state(measure, state, at_ms)
                if expired is None:
                    del self.states[measure.key]
                else:
                    self.states[measure.key] = expired
