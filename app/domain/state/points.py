"""Points of a pass: its balance, and its lots, which are the points of one grant that expire.

Points are a function of the *set* of counted events and an instant. The rules:

- Events count in order of (occurredAt, id), and a correction after the event that it corrects (`Event.order`). Before
  each event, the lots that have expired leave the balance.
- A grant with an expiry opens a lot. It expires at an instant, or after a number of days without activity.
- Spending takes points from the lot that expires soonest (of two, the older one), then from grants without an expiry,
  the oldest first. The rest becomes a debt, which the next grant repays first.
- A correction may move the expiry of the remaining points of a grant.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from app.domain.events.events import INTERNAL_TYPES, Event
from app.domain.events.ordering import sort_events
from app.domain.events.points_expiry import PointsExpiry
from app.domain.values.decimals import ZERO, add, subtract
from app.domain.values.instants import DAY_MS

from .aggregates import Aggregates


@dataclass(frozen=True, slots=True)
class Lot:
    """Remaining points of one grant that expires, the instant of the grant, and its expiry."""

    remaining: Decimal
    granted_ms: int
    expiry: PointsExpiry


Lots = Mapping[str, Lot]
"""Lots by the id of the event that granted the points."""


@dataclass(frozen=True, slots=True)
class ExpiredLot:
    """Points of a lot that expired, the instant of expiry, and the balance afterwards."""

    event_id: str
    points: Decimal
    at_ms: int
    balance: Decimal


_LotKey = tuple[int, int, str]
"""Order of lots: (instant of expiry in ms, or days without activity; instant of the grant in ms; event id)."""


class PointsAccount:
    """Points of a pass during a walk. `lots` is None as long as no counted event had an expiry."""

    def __init__(self, balance: Decimal = ZERO, lots: Lots | None = None, active_ms: int = 0) -> None:
        self.balance = balance
        self.lots: Lots | None = lots
        self._copied_lots: dict[str, Lot] | None = None
        self._active_ms = active_ms
        # Remaining points of grants without an expiry, by event id, the oldest first: (instant of the grant, points).
        self._unlimited: dict[str, tuple[int, Decimal]] = {}
        # Lots that expire at an instant, and lots that expire after days without activity; the soonest first.
        self._fixed: list[_LotKey] = []
        self._rolling: list[_LotKey] = []
        for event_id, lot in (lots or {}).items():
            self._queue_of(lot).append(_lot_key(event_id, lot))
        self._fixed.sort()
        self._rolling.sort()

    def next_expiry_ms(self) -> int | None:
        """Return the next instant at which a lot expires if nothing happens; None for never."""
        soonest = self._find_soonest() if self.lots else None
        return None if soonest is None else soonest[0]

    def expire_lots(self, at_ms: int) -> list[ExpiredLot]:
        """Remove the lots that have expired at `at_ms`, and return them in order of expiry."""
        expired: list[ExpiredLot] = []
        while self.lots and (soonest := self._find_soonest()) is not None and soonest[0] <= at_ms:
            expired_ms, _, event_id = soonest
            points = self._take(event_id).remaining
            self.balance = subtract(self.balance, points)
            expired.append(ExpiredLot(event_id, points, expired_ms, balance=self.balance))
        return expired

    def count(self, event: Event) -> None:
        """Count an event that is later than all events counted so far. The caller has expired the lots by then.

        Count an event that moves an expiry only in an account with all earlier events (see `rebuild_account`). Only
        such an account has the grants without an expiry.
        """
        expiry = event.points_expiry
        if event.type not in INTERNAL_TYPES:
            self._active_ms = max(self._active_ms, event.occurred_ms)
        if self.lots is None and expiry is None:
            if event.points:
                self._earn_or_spend(event)
            return
        at_ms = event.order_ms
        if self.lots is None:
            self.lots = self._copied_lots = {}
        if expiry is None:
            if event.points:
                self._earn_or_spend(event)
        elif moves_expiry(event):
            self._move_expiry(event, expiry, at_ms)
        elif event.points > 0:
            self._grant(event, expiry, at_ms)

    def _earn_or_spend(self, event: Event) -> None:
        """Add points without an expiry, or subtract negative points from the lots and grants."""
        points, before = event.points, self.balance
        self.balance = add(before, points)
        if points > 0:
            remaining = points if before >= 0 else self.balance
            if remaining > 0:
                self._unlimited[event.id] = event.order_ms, remaining
            return
        owed = -points
        while owed > 0 and (soonest := self._find_soonest()) is not None:
            event_id = soonest[2]
            lot = self._take(event_id)
            if lot.remaining > owed:
                self._put(event_id, replace(lot, remaining=subtract(lot.remaining, owed)))
                return
            owed = subtract(owed, lot.remaining)
        while owed > 0 and self._unlimited:
            event_id, (granted_ms, remaining) = next(iter(self._unlimited.items()))
            if remaining > owed:
                self._unlimited[event_id] = granted_ms, subtract(remaining, owed)
                return
            del self._unlimited[event_id]
            owed = subtract(owed, remaining)

    def _grant(self, event: Event, expiry: PointsExpiry, at_ms: int) -> None:
        if expiry.expires_ms(at_ms) <= at_ms:
            # The points expire before or when they are earned, so they never enter the balance.
            return
        debt = max(ZERO, -self.balance)
        self.balance = add(self.balance, event.points)
        if event.points > debt:
            self._put(event.id, Lot(subtract(event.points, debt), at_ms, expiry))

    def _move_expiry(self, event: Event, expiry: PointsExpiry, at_ms: int) -> None:
        target = event.correction_of or ""
        if expiry.at_ms is not None:
            expiry = PointsExpiry(max(expiry.at_ms, at_ms))
        if self.lots is not None and target in self.lots:
            self._put(target, replace(self._take(target), expiry=expiry))
        elif target in self._unlimited:
            granted_ms, remaining = self._unlimited.pop(target)
            self._put(target, Lot(remaining, granted_ms, expiry))

    def _find_soonest(self) -> _LotKey | None:
        fixed = self._fixed[0] if self._fixed else None
        if not self._rolling:
            return fixed
        days, granted_ms, event_id = self._rolling[0]
        rolling = (self._active_ms + days * DAY_MS, granted_ms, event_id)
        return rolling if fixed is None else min(fixed, rolling)

    def _queue_of(self, lot: Lot) -> list[_LotKey]:
        return self._fixed if lot.expiry.after_days is None else self._rolling

    def _put(self, event_id: str, lot: Lot) -> None:
        if self.lots is not None and event_id in self.lots:
            # A slow worker may count an event that another worker counted before the history was read. The
            # compare-and-set rejects the result of such a walk, but the walk must not raise.
            self._take(event_id)
        self._changeable_lots()[event_id] = lot
        insort(self._queue_of(lot), _lot_key(event_id, lot))

    def _take(self, event_id: str) -> Lot:
        lot = self._changeable_lots().pop(event_id)
        queue = self._queue_of(lot)
        del queue[bisect_left(queue, _lot_key(event_id, lot))]
        return lot

    def _changeable_lots(self) -> dict[str, Lot]:
        """Return the lots to change.

        Copy them before the first change, because the caller's lots must stay unchanged.
        """
        if self._copied_lots is None:
            self.lots = self._copied_lots = dict(self.lots or {})
        return self._copied_lots


def points_account_of(balance: Decimal, lots: Lots | None, aggregates: Aggregates) -> PointsAccount:
    """Return the account of a pass from its stored balance, lots and aggregates."""
    return PointsAccount(balance, lots, last_active_ms(aggregates) if lots else 0)


def rebuild_account(events: Iterable[Event], at_ms: int) -> tuple[PointsAccount, list[ExpiredLot]]:
    """Return the account at `at_ms` and all lots that expired by then, from all events that count, in any order."""
    account = PointsAccount()
    expired: list[ExpiredLot] = []
    # A slow worker may read, as history, events that another worker counted meanwhile, so that it has them twice. The
    # compare-and-set rejects the result of such a walk, but the walk must not raise: the sort keeps each event once.
    for event in sort_events(events):
        expired += account.expire_lots(event.order_ms)
        account.count(event)
    return account, expired + account.expire_lots(at_ms)


def can_count_in_order(account: PointsAccount, events: Sequence[Event], at_ms: int, before_ms: int) -> bool:
    """Return whether the events of one instant can be added to an account that has counted until `before_ms`.

    If not, the caller rebuilds the account from all events that count. The order of points without an expiry does not
    matter.
    """
    if account.lots is None and all(event.points_expiry is None for event in events):
        return True
    return all(before_ms < event.occurred_ms == at_ms and not moves_expiry(event) for event in events)


def needs_history(lots: Lots | None, events: Sequence[Event], at_ms: int) -> bool:
    """Return whether a walk over these events, from `at_ms` on, may have to rebuild the account."""
    if lots is None and all(event.points_expiry is None for event in events):
        return False
    return any(
        event.historical or event.occurred_ms <= at_ms or moves_expiry(event) or _may_follow_later_event(event)
        for event in events
    )


def _may_follow_later_event(event: Event) -> bool:
    """Return whether the event is a correction that counts at a later instant than its own, as far as is known."""
    if event.correction_of is None:
        return False
    return event.corrected_order is None or event.order_ms > event.occurred_ms


def moves_expiry(event: Event) -> bool:
    """Return whether the event grants no points, but moves the expiry of the points of the event that it corrects."""
    return event.points_expiry is not None and event.correction_of is not None and not event.points


def last_active_ms(aggregates: Aggregates) -> int:
    """Return the instant of the customer's last activity, in ms; 0 for none. Internal events are no activity."""
    return max((row.last_ms for (kind, _), row in aggregates.items() if kind not in INTERNAL_TYPES), default=0)


def find_expiries(lots: Lots | None, aggregates: Aggregates) -> list[tuple[int, Decimal]]:
    """Return (ms, points) of the coming expiries, the soonest first, provided that nothing more happens on the pass."""
    active_ms = last_active_ms(aggregates) if lots else 0
    points_by_expiry: dict[int, Decimal] = {}
    for lot in (lots or {}).values():
        expires_ms = lot.expiry.expires_ms(active_ms)
        points_by_expiry[expires_ms] = add(points_by_expiry.get(expires_ms, ZERO), lot.remaining)
    return sorted(points_by_expiry.items())


def _lot_key(event_id: str, lot: Lot) -> _LotKey:
    expiry = lot.expiry.expires_ms(0) if lot.expiry.after_days is None else lot.expiry.after_days
    return expiry, lot.granted_ms, event_id
