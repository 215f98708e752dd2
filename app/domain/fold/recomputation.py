"""Recomputation of a pass from its events, to compare it with the stored pass.

Aggregates, points, profile, measures and firings of rules are functions of the set of events that count. So they must
equal what the fold has stored, in whatever parts and order it counted the events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from app.domain.definitions import Definitions
from app.domain.events.events import RULE_FIRED, Event
from app.domain.passes.passes import Pass
from app.domain.passes.profiles import rebuild_profile
from app.domain.state.accounts import rebuild_account
from app.domain.state.aggregates import Aggregate, AggregateKey, Aggregates, fold_events
from app.domain.state.extremes import Extremes
from app.domain.state.firings import RuleFirings, add_firing, without_rules
from app.domain.state.from_rows import from_aggregates
from app.domain.state.measures import Measure, State, build_measure
from app.domain.state.redeemed import RedeemedRewards, add_redeemed
from app.domain.state.windows import Window

MAX_RECOMPUTED_EVENTS = 50_000
"""Events of a pass that are held in memory. Of a pass with more, only the aggregates and the sums by month are compared."""

NOT_QUOTED = "not quoted"


@dataclass(frozen=True, slots=True)
class Difference:
    """Part of a stored object that differs from what the events give.

    `live` is what is stored. Values that may be personal data are not quoted: both values are then `NOT_QUOTED`.
    """

    what: str
    live: str
    rebuilt: str

    def __str__(self) -> str:
        """Return the difference as a sentence."""
        if self.live == NOT_QUOTED:
            return f"Its events give another value for {self.what} than is stored."
        return f"Its events give {self.rebuilt} for {self.what}, stored is {self.live}."


class Recomputation:
    """Recomputation of one pass. Add all events that count in the pass as read, in any order and in parts."""

    def __init__(self, card: Pass) -> None:
        self._card = card
        self._rows: dict[AggregateKey, Aggregate] = {}
        self._made_rows: dict[AggregateKey, Aggregate] = {}
        self._firings: RuleFirings = {}
        self._redeemed: RedeemedRewards = {}
        self._events: list[Event] = []
        self.is_whole = True
        """Whether all events are in memory, so that points, profile and measures are compared, too."""

    def add(self, events: Sequence[Event]) -> None:
        """Add events that count."""
        self._rows = fold_events(self._rows, [event for event in events if not event.is_made])
        self._made_rows = fold_events(self._made_rows, [event for event in events if event.is_made])
        for event in events:
            if event.type == RULE_FIRED:
                self._firings = add_firing(self._firings, event)
            self._redeemed = add_redeemed(self._redeemed, event)
        self.is_whole = self.is_whole and len(self._events) + len(events) <= MAX_RECOMPUTED_EVENTS
        if self.is_whole:
            self._events += events
        else:
            self._events.clear()

    def find_differences(self, definitions: Definitions) -> list[Difference]:
        """Return what the stored pass has otherwise. The definitions include those of its revision."""
        card = self._card
        found = list(compare_aggregates(self._rows, card.aggregates))
        found += compare_aggregates(self._made_rows, card.made_aggregates)
        archived = definitions.active(card.revision).archived_rules - card.firings.keys()
        if without_rules(self._firings, archived) != card.firings:
            found.append(_unquoted("the firings of rules"))
        if self._redeemed != card.redeemed:
            found.append(_unquoted("the units of redeemed rewards"))
        if self.is_whole:
            found += [*self._compare_points(), *self._compare_profile()]
            found += self._compare_measures(definitions.active_for(self._card.revision, self._card.profile).measures)
        return found

    def _compare_points(self) -> Iterator[Difference]:
        account, _ = rebuild_account(self._events, self._card.evaluated_until_ms)
        if account.balance != self._card.points:
            yield Difference("the points", str(self._card.points), str(account.balance))
        lots, stored = (
            {each: lot.remaining for each, lot in (found or {}).items()} for found in (account.lots, self._card.lots)
        )
        if lots != stored:
            live, rebuilt = (f"{sum(each.values())} points in {len(each)} grants" for each in (stored, lots))
            yield Difference("the points with an expiry", live, rebuilt)
        if account.pending != self._card.pending_points:
            yield _unquoted("the pending points")

    def _compare_profile(self) -> Iterator[Difference]:
        profile = rebuild_profile(self._card.initial_profile, self._events)
        for name in ("holder", "fields", "metadata", "status", "lists", "consents"):
            if getattr(profile, name) != getattr(self._card.profile, name):
                yield _unquoted(f"the {name}")

    def _compare_measures(self, measures: Iterable[Measure]) -> Iterator[Difference]:
        for measure in measures:
            stored = self._card.measures.get(measure.key)
            if measure.can_use_aggregates:
                expected = from_aggregates(measure, self._rows, self._made_rows)
            else:
                expected = build_measure(measure, self._events, self._card.evaluated_until_ms)
            if _value_of(expected) != _value_of(stored):
                live, rebuilt = str(_value_of(stored)), str(_value_of(expected))
                yield Difference(f"the measure {measure.key}", live, rebuilt)


def compare_aggregates(found: Aggregates, stored: Aggregates) -> Iterator[Difference]:
    """Yield what is stored otherwise than the rows that were `found` in the events."""
    for key in sorted(found.keys() | stored.keys(), key=str):
        row = found.get(key)
        if row is not None and key in stored:
            # The category of a row is that of the event that was folded first, which the set of events does not tell.
            row = replace(row, category=stored[key].category)
        if row != stored.get(key):
            kind, currency = key
            name = kind if currency is None else f"{kind} in {currency}"
            yield Difference(name, _text(stored.get(key)), _text(row))


def _unquoted(what: str) -> Difference:
    return Difference(what, NOT_QUOTED, NOT_QUOTED)


def _value_of(state: State | None) -> object:
    # Two windows may list another number of instants, and have the same value.
    return state.value if isinstance(state, Window | Extremes) else state


def _text(row: Aggregate | None) -> str:
    return "nothing" if row is None else f"{row.count} with the sum {row.sum}"
