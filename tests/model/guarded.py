"""Guarded deductions and corrections in the model: what a business sends, and what must hold for their outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from zlib import crc32

from app.domain.activities import CUSTOM_EVENT, EVENT_DECLINED, UPDATED, Activity
from app.domain.definitions import Definitions
from app.domain.events.events import Event, EventInput
from app.domain.events.guards import INSUFFICIENT_POINTS, NOT_COUNTED, OVER_CORRECTED, OutcomeStatus
from app.domain.fold.recomputation import Recomputation
from app.domain.passes.passes import Pass
from app.store.codecs.definitions import definition_from_doc

from .memory import Doc

DEDUCTING = {
    "event": {"types": ["point_sub"], "metric": "COUNT", "operator": "GTE", "value": 2, "within": {"days": 40}}
}
"""Criteria whose measure a new segment builds from the history, which must not hold declined events."""


def earned_points(identity: str) -> dict[str, object]:
    """Return the points that a purchase gives, which the text decides. They never expire."""
    return {"points": (crc32(identity.encode()) >> 9) % 4 * 10}


def choose_deductions(random: Random, batch: str, names: Sequence[str], at: datetime) -> list[EventInput]:
    """Return one or two guarded deductions for each pass, which the caller says to have performed in the past."""
    return [
        EventInput(
            "point_sub", pass_external_id=name, points=-random.choice((5, 10, 20, 40)), guard={"minBalance": 0},
            occurred_at=at - timedelta(days=random.randrange(9)), external_id=f"{batch} {name} taken {number}",
        )
        for name in names
        for number in range(random.randrange(1, 3))
    ]  # fmt: skip


class GuardedInvariants:
    """The outcomes of the events of a store, compared with the log and with an oracle.

    `points` and `guarded` give the points of each event that was sent, and which of them are guarded.
    """

    def __init__(
        self,
        events: Sequence[Event],
        versions: Sequence[Doc],
        points: Mapping[str, Decimal],
        guarded: set[str],
    ) -> None:
        self._events = events
        self._definitions = Definitions([definition_from_doc(doc) for doc in sorted(versions, key=lambda v: v["rev"])])
        self._points, self._guarded = points, guarded

    def check(self, card: Pass, log: Sequence[Activity], *, is_merged: bool, exact: bool) -> None:
        """Check the outcomes on one pass. With `exact`, nothing was late, removed or merged."""
        events = [event for event in self._events if event.pass_id == card.id]
        assert all(event.outcome.status is not OutcomeStatus.UNDECIDED for event in events), "an outcome is missing"
        counted = [event for event in events if not event.outcome.is_declined]
        recomputation = Recomputation(card)
        recomputation.add(counted)
        assert recomputation.find_differences(self._definitions) == [], "the pass is not what its events give"
        self._check_activities(events, log)
        self._check_corrections(events, counted)
        if not is_merged:
            self._check_balances(card, log)
        if exact:
            decided = {event.id: [reason.code for reason in event.outcome.reasons] for event in events}
            assert decided == expected_outcomes(events), "an outcome is not that of the oracle"

    def _check_activities(self, events: Sequence[Event], log: Sequence[Activity]) -> None:
        for event in events:
            told = [
                a.type for a in log if a.cause.get("event") == event.id and a.type in (CUSTOM_EVENT, EVENT_DECLINED)
            ]
            expected = EVENT_DECLINED if event.outcome.is_declined else CUSTOM_EVENT
            assert told == [expected], f"an event was decided twice, or otherwise than published: {told}"

    def _check_corrections(self, events: Sequence[Event], counted: Sequence[Event]) -> None:
        declined = {event.id for event in events if event.outcome.is_declined}
        assert not any(event.correction_of in declined for event in counted), (
            "the correction of a declined event counts"
        )
        for event in counted:
            if event.type == "refund":
                assert event.amount is not None, "a refund counts without an amount"
                refunds = [e.amount or Decimal(0) for e in counted if e.correction_of == event.correction_of]
                bought = [e.amount or Decimal(0) for e in counted if e.id == event.correction_of]
                assert not bought or sum(refunds) <= bought[0], "refunds took back more than the purchase"

    def _check_balances(self, card: Pass, log: Sequence[Activity]) -> None:
        """Check each decision against the balance that the log of the pass gives before it."""
        balance, counting = Decimal(0), set[str]()
        for activity in sorted((a for a in log if a.pass_id == card.id), key=lambda a: a.pass_sequence):
            event_id = str(activity.cause.get("event"))
            if activity.type == CUSTOM_EVENT:
                counting.add(event_id)
                balance += self._points[event_id]
                assert event_id not in self._guarded or balance >= 0, "a deduction left a debt"
            elif activity.type == EVENT_DECLINED and activity.data["reasons"][0]["code"] == INSUFFICIENT_POINTS:  # type: ignore[index]
                assert balance + self._points[event_id] < 0, "a deduction was declined that the pass could afford"
            elif activity.type == UPDATED and str(activity.data["removed"]) in counting:
                balance -= self._points[str(activity.data["removed"])]
        assert balance == card.points, "the balance is not that of the log"


def expected_outcomes(events: Sequence[Event]) -> dict[str, list[str]]:
    """Return the codes by which each event is declined, none if it counts: decided in the order of the instants.

    At an instant, unguarded events count first; each guarded event is followed by its corrections.
    """
    by_id = {event.id: event for event in events}
    declined: dict[str, list[str]] = {}
    left: dict[str, Decimal] = {}
    balance = Decimal(0)
    for event in sorted(events, key=lambda each: _place(each, by_id)):
        codes, amount = [], event.outcome.amount if event.outcome.amount is not None else event.amount
        if event.correction_of is not None:
            if declined.get(event.correction_of, ["missing"]):
                codes = [NOT_COUNTED]
            elif event.type == "refund":
                given = left[event.correction_of] if event.outcome.amount is not None else amount or Decimal(0)
                assert given == amount, "a refund stands for another amount than is left"
                if given > left[event.correction_of]:
                    codes = [OVER_CORRECTED]
                else:
                    left[event.correction_of] -= given
        if not codes and event.guard is not None and balance + event.points < 0:
            codes = [INSUFFICIENT_POINTS]
        declined[event.id] = codes
        if not codes:
            balance += event.points
            if event.type == "purchase":
                left[event.id] = event.amount or Decimal(0)
    return declined


def _place(event: Event, by_id: Mapping[str, Event]) -> tuple[int, int, tuple[int, str], tuple[int, str]]:
    """Return the key by which events are decided: instant, unguarded first, then by the guarded event or by itself."""
    original = by_id.get(event.correction_of or "")
    at_ms = max(event.occurred_ms, original.occurred_ms if original is not None else 0)
    if original is not None and original.guard is not None and at_ms == original.occurred_ms:
        return at_ms, 1, (original.occurred_ms, original.id), (event.occurred_ms, event.id)
    if event.guard is not None:
        return at_ms, 1, (event.occurred_ms, event.id), (0, "")
    return at_ms, 0, (0 if original is None else 1, ""), (event.occurred_ms, event.id)
