"""Points: the balance of a pass, and the lots in it: points that have an end, an instant or days without activity.

A function of the *set* of counted events and an instant. Events are taken in order of (occurredAt, id); before each, the
lots whose end has come leave the balance. A grant with an end opens a lot. What is spent is taken from the lot that ends
soonest (of two, the older), then from points without an end, the oldest first, then becomes a debt, which the next grant
repays first. A correction may move the end of what is left of a grant.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from app.domain.events.events import INTERNAL_TYPES, Event
from app.domain.events.points_expiry import PointsExpiry
from app.domain.values.decimals import ZERO, add, subtract
from app.domain.values.instants import DAY_MS

from .aggregates import Aggregates


@dataclass(frozen=True, slots=True)
class Lot:
    """What is left of one grant, when it was given, and its end."""

    remaining: Decimal
    granted_ms: int
    end: PointsExpiry


Lots = Mapping[str, Lot]
"""By the id of the event that gave the points."""


@dataclass(frozen=True, slots=True)
class ExpiredLot:
    """What a lot still held when its end came, and the balance without it."""

    event_id: str
    points: Decimal
    at_ms: int
    balance: Decimal


_Place = tuple[int, int, str]


class PointsAccount:
    """The points of a pass while it is walked. `lots` is None as long as no counted event said when points end."""

    def __init__(self, balance: Decimal = ZERO, lots: Lots | None = None, active_ms: int = 0) -> None:
        self.balance = balance
        self.lots: Lots | None = lots
        self._own: dict[str, Lot] | None = None
        self._active_ms = active_ms
        # What is left of grants without an end, the oldest first: (when given, how much).
        self._endless: dict[str, tuple[int, Decimal]] = {}
        # Soonest first, then the oldest: (end or days, granted ms, event id).
        self._fixed: list[_Place] = []
        self._rolling: list[_Place] = []
        for event_id, lot in (lots or {}).items():
            self._list(lot).append(_place(event_id, lot))
        self._fixed.sort()
        self._rolling.sort()

    def next_expiry_ms(self) -> int | None:
        """The next instant at which a lot leaves the balance by itself; None for never."""
        soonest = self._soonest() if self.lots else None
        return None if soonest is None else soonest[0]

    def expire_lots(self, at_ms: int) -> list[ExpiredLot]:
        """Takes out the lots whose end is `at_ms` or earlier, and answers them in the order they ended."""
        gone: list[ExpiredLot] = []
        while self.lots and (soonest := self._soonest()) is not None and soonest[0] <= at_ms:
            ended_ms, _, event_id = soonest
            points = self._taken(event_id).remaining
            self.balance = subtract(self.balance, points)
            gone.append(ExpiredLot(event_id, points, ended_ms, self.balance))
        return gone

    def count(self, event: Event) -> None:
        """Counts an event that is later than all counted so far; what ended by then is out already.

        Only a purse that was given all events from the first on knows what an event that moves an end speaks of.
        """
        end = event.points_expiry
        if self.lots is None and end is None:
            if event.points:
                self._earned_or_spent(event)
            return
        at_ms = event.occurred_ms
        if self.lots is None:
            self.lots = self._own = {}
        if event.type not in INTERNAL_TYPES:
            self._active_ms = max(self._active_ms, at_ms)
        if end is None:
            if event.points:
                self._earned_or_spent(event)
        elif moves_end(event):
            self._end_moved(event, end, at_ms)
        elif event.points > 0:
            self._granted(event, end, at_ms)

    def _earned_or_spent(self, event: Event) -> None:
        """Points without an end, or negative ones."""
        points, before = event.points, self.balance
        self.balance = add(before, points)
        if points > 0:
            left = points if before >= 0 else self.balance
            if left > 0:
                self._endless[event.id] = event.occurred_ms, left
            return
        due = -points
        while due > 0 and (soonest := self._soonest()) is not None:
            event_id = soonest[2]
            lot = self._taken(event_id)
            if lot.remaining > due:
                self._put(event_id, replace(lot, remaining=subtract(lot.remaining, due)))
                return
            due = subtract(due, lot.remaining)
        while due > 0 and self._endless:
            event_id, (granted_ms, left) = next(iter(self._endless.items()))
            if left > due:
                self._endless[event_id] = granted_ms, subtract(left, due)
                return
            del self._endless[event_id]
            due = subtract(due, left)

    def _granted(self, event: Event, end: PointsExpiry, at_ms: int) -> None:
        if end.ms(at_ms) <= at_ms:
            # Over before it began: never had.
            return
        debt = max(ZERO, -self.balance)
        self.balance = add(self.balance, event.points)
        if event.points > debt:
            self._put(event.id, Lot(subtract(event.points, debt), at_ms, end))

    def _end_moved(self, event: Event, end: PointsExpiry, at_ms: int) -> None:
        target = event.correction_of or ""
        if end.at_ms is not None:
            end = PointsExpiry(max(end.at_ms, at_ms))
        if self.lots is not None and target in self.lots:
            self._put(target, replace(self._taken(target), end=end))
        elif target in self._endless:
            granted_ms, left = self._endless.pop(target)
            self._put(target, Lot(left, granted_ms, end))

    def _soonest(self) -> _Place | None:
        fixed = self._fixed[0] if self._fixed else None
        if not self._rolling:
            return fixed
        days, granted_ms, event_id = self._rolling[0]
        rolling = (self._active_ms + days * DAY_MS, granted_ms, event_id)
        return rolling if fixed is None else min(fixed, rolling)

    def _list(self, lot: Lot) -> list[_Place]:
        return self._fixed if lot.end.after_days is None else self._rolling

    def _put(self, event_id: str, lot: Lot) -> None:
        self._mine()[event_id] = lot
        insort(self._list(lot), _place(event_id, lot))

    def _taken(self, event_id: str) -> Lot:
        lot = self._mine().pop(event_id)
        places = self._list(lot)
        del places[bisect_left(places, _place(event_id, lot))]
        return lot

    def _mine(self) -> dict[str, Lot]:
        """The lots, copied before the first change: those given stay as they are."""
        if self._own is None:
            self.lots = self._own = dict(self.lots or {})
        return self._own


def points_account_of(balance: Decimal, lots: Lots | None, aggregates: Aggregates) -> PointsAccount:
    """The purse of a pass as stored."""
    return PointsAccount(balance, lots, last_active_ms(aggregates) if lots else 0)


def rebuild_account(events: Iterable[Event], at_ms: int) -> tuple[PointsAccount, list[ExpiredLot]]:
    """The purse at `at_ms` from all events that count, and every lot that ended by then; order does not matter."""
    purse = PointsAccount()
    gone: list[ExpiredLot] = []
    # A walk that is slow reads as history what somebody else has counted meanwhile: it sees an event twice, and will not
    # be saved, but must not fail.
    once = {event.id: event for event in events}.values()
    for event in sorted(once, key=lambda e: (e.occurred_at, e.id)):
        gone += purse.expire_lots(event.occurred_ms)
        purse.count(event)
    return purse, gone + purse.expire_lots(at_ms)


def order_point_events(purse: PointsAccount, events: Sequence[Event], at_ms: int, before_ms: int) -> bool:
    """Whether the events of one instant can be counted one by one on top of what counted until `before_ms`.

    If not, the purse is rebuilt from all events that count. Without ends, the order of points does not matter.
    """
    if purse.lots is None and all(event.points_expiry is None for event in events):
        return True
    return all(before_ms < event.occurred_ms == at_ms and not moves_end(event) for event in events)


def needs_history(lots: Lots | None, events: Sequence[Event], at_ms: int) -> bool:
    """Whether a walk over these events, from `at_ms` on, may have to rebuild the purse."""
    if lots is None and all(event.points_expiry is None for event in events):
        return False
    return any(event.historical or event.occurred_ms <= at_ms or moves_end(event) for event in events)


def moves_end(event: Event) -> bool:
    """Whether the event gives no points and says when those of the event it corrects end."""
    return event.points_expiry is not None and event.correction_of is not None and not event.points


def last_active_ms(aggregates: Aggregates) -> int:
    """The last instant at which the customer did something; what Punchcard records itself is nobody's activity."""
    return max((row.last_ms for (kind, _), row in aggregates.items() if kind not in INTERNAL_TYPES), default=0)


def endings(lots: Lots | None, aggregates: Aggregates) -> list[tuple[int, Decimal]]:
    """When points end, soonest first: (ms, how many), as long as nothing more happens."""
    active_ms = last_active_ms(aggregates) if lots else 0
    found: dict[int, Decimal] = {}
    for lot in (lots or {}).values():
        end_ms = lot.end.ms(active_ms)
        found[end_ms] = add(found.get(end_ms, ZERO), lot.remaining)
    return sorted(found.items())


def _place(event_id: str, lot: Lot) -> _Place:
    return lot.end.ms(0) if lot.end.after_days is None else lot.end.after_days, lot.granted_ms, event_id
