"""Points of a pass: its balance, and its lots, which are the points of one grant that expire.

Points are a function of the *set* of counted events and an instant. The rules:

- Events count in order of (occurredAt, id), and a correction after the event that it corrects (`Event.order`). Before
  each event, the lots that have expired leave the balance.
- A grant with an expiry opens a lot. It expires at an instant, or after a number of days without activity.
- Spending takes points from the lot that expires soonest (of two, the older one), then from grants without an expiry,
  the oldest first. The rest becomes a debt, which the next grant repays first.
- A correction may move the expiry of the remaining points of a grant.
- Points that a rule awards may be pending: they enter the balance at an instant. Awards with the same end share one lot.
- The rollback of a redemption puts its points back into the lots that they came from, after it has repaid a debt. If the
  end of a lot has passed, they end at the rollback.
- A reversal of an award takes first what is left of it, pending or not: the points with the end of the award. For an award
  without an end, these are the points that never expire. Then it spends. If that end has passed, it takes only what was
  spent of such awards, nothing that has expired. If the correction is removed later, what was spent comes back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from app.domain.events.events import INTERNAL_TYPES, REDEMPTION, REDEMPTION_ROLLBACK, Event
from app.domain.events.points_expiry import PointsExpiry
from app.domain.values.decimals import ZERO, add, subtract

from .lot_queue import LotQueue
from .lots import (
    ExpiredLot,
    Lot,
    Lots,
    Matured,
    Pending,
    PendingPoints,
    Taken,
    end_key,
    pending_key,
)


class PointsAccount:
    """Points of a pass during a walk. `lots` is None as long as no counted event had an expiry."""

    def __init__(
        self, balance: Decimal = ZERO, lots: Lots | None = None, active_ms: int = 0, pending: Pending | None = None
    ) -> None:
        self.balance = balance
        self._queue = LotQueue(lots)
        self.pending: Pending = pending or {}
        self._active_ms = active_ms
        # Points that awards gave in all, and that expired, by end. Complete only after a rebuild.
        self._awarded: dict[str, Decimal] = {}
        self._lapsed: dict[str, Decimal] = {}
        # Spent points that reversals took back, by end. Complete only after a rebuild, too.
        self._reversed: dict[str, Decimal] = {}
        # What each redemption took from lots and grants, the soonest end first. Complete only after a rebuild.
        self._takes: dict[str, list[Taken]] = {}
        # Remaining points of grants without an expiry, by event id, the oldest first: (instant of the grant, points).
        self._unlimited: dict[str, tuple[int, Decimal]] = {}
        self._awards = 0

    def copy(self) -> PointsAccount:
        """Return a copy that later changes leave as it was."""
        other = PointsAccount(self.balance, active_ms=self._active_ms, pending=self.pending)
        other._queue, other._awards = self._queue.copy(), self._awards
        other._awarded, other._lapsed, other._reversed = dict(self._awarded), dict(self._lapsed), dict(self._reversed)
        other._takes, other._unlimited = dict(self._takes), dict(self._unlimited)
        return other

    def note_activity(self, at_ms: int) -> None:
        """Note that the customer was active at an instant. Events without points that were not counted leave it out."""
        self._active_ms = max(self._active_ms, at_ms)

    @property
    def lots(self) -> Lots | None:
        """The lots by key; None as long as no counted event had an end."""
        return self._queue.lots

    def next_change_ms(self) -> int | None:
        """Return the next instant at which a lot expires, or points mature, if nothing happens; None for never."""
        soonest = self._queue.find_soonest(self._active_ms) if self.lots else None
        expiry_ms = None if soonest is None else soonest[0]
        if not self.pending:
            return expiry_ms
        matures_ms = min(each.matures_ms for each in self.pending.values())
        return matures_ms if expiry_ms is None else min(matures_ms, expiry_ms)

    def pass_time(self, at_ms: int) -> tuple[list[ExpiredLot], list[Matured]]:
        """Let lots expire and pending points mature until `at_ms`, in order of their instants; lots first at an instant."""
        expired: list[ExpiredLot] = []
        matured: list[Matured] = []
        while self.pending:
            key, first = min(self.pending.items(), key=lambda item: (item[1].matures_ms, item[0]))
            if first.matures_ms > at_ms:
                break
            expired += self.expire_lots(first.matures_ms)
            self.pending = {other: each for other, each in self.pending.items() if other != key}
            if self._award(first.points, first.expiry, first.granted_ms, first.matures_ms):
                matured.append(Matured(first.points, first.matures_ms, self.balance))
        return expired + self.expire_lots(at_ms), matured

    def expire_lots(self, at_ms: int) -> list[ExpiredLot]:
        """Remove the lots that have expired at `at_ms`, and return them in order of expiry."""
        expired: list[ExpiredLot] = []
        while self.lots and (soonest := self._queue.find_soonest(self._active_ms)) is not None and soonest[0] <= at_ms:
            expired_ms, _, event_id = soonest
            points = self._queue.take(event_id).remaining
            self.balance = subtract(self.balance, points)
            self._lapsed[event_id] = add(self._lapsed.get(event_id, ZERO), points)
            expired.append(ExpiredLot(event_id, points, expired_ms, balance=self.balance))
        return expired

    def count(self, event: Event) -> None:
        """Count an event that is later than all events counted so far. The caller has expired the lots by then.

        Count an event that moves an expiry only in an account with all earlier events (see `rebuild_account`). Only
        such an account has the grants without an expiry.
        """
        if event.is_made:
            if event.points:
                self._count_made(event)
            return
        expiry, active_ms = event.points_expiry, self._active_ms
        if event.type not in INTERNAL_TYPES:
            self._active_ms = max(self._active_ms, event.occurred_ms)
        if self.lots is None and expiry is None:
            if event.points:
                self._earn_or_spend(event)
            return
        at_ms = event.order_ms
        self._queue.begin()
        if event.type == REDEMPTION_ROLLBACK:
            self._roll_back(event, active_ms, at_ms)
        elif expiry is None:
            if event.points:
                self._earn_or_spend(event)
        elif moves_expiry(event):
            self._move_expiry(event, expiry, at_ms)
        elif event.points > 0:
            self._grant(event, expiry, at_ms)

    def _count_made(self, event: Event) -> None:
        """Count an award, a reversal of one, or a deduction. They name no event that corrections could name."""
        at_ms, expiry, matures_ms = event.occurred_ms, event.points_expiry, event.matures_ms
        if expiry is not None:
            self._queue.begin()
        if event.points < 0:
            owed = -event.points
            is_reversal = event.metadata.get("reversal") is True
            self._spend(self._reverse(owed, expiry, matures_ms, at_ms) if is_reversal else owed)
        elif matures_ms is not None and matures_ms > at_ms:
            key = pending_key(matures_ms, expiry)
            before = self.pending.get(key, PendingPoints(ZERO, at_ms, matures_ms, expiry=expiry))
            self.pending = {**self.pending, key: replace(before, points=add(before.points, event.points))}
        elif event.origin.target is not None and expiry is not None and self.has_ended(expiry, at_ms):
            self._give_back(event.points, end_key(expiry))
        else:
            if event.origin.target is not None and (left := self._reversed.get(end_key(expiry), ZERO)):
                self._reversed[end_key(expiry)] = subtract(left, min(left, event.points))
            self._award(event.points, expiry, at_ms, at_ms)

    def _give_back(self, points: Decimal, key: str) -> None:
        """Give back what reversals took of awards whose end has passed: their spent points, and nothing that expired."""
        points = min(points, self._reversed.get(key, ZERO))
        self.balance = add(self.balance, points)
        self._awarded[key] = add(self._awarded.get(key, ZERO), points)
        self._reversed[key] = subtract(self._reversed.get(key, ZERO), points)

    def _award(self, points: Decimal, expiry: PointsExpiry | None, granted_ms: int, at_ms: int) -> bool:
        """Add points of an award to the balance, and to the lot of its end. Return whether they entered the balance."""
        if expiry is not None and expiry.expires_ms(max(self._active_ms, at_ms)) <= at_ms:
            # The points expire before or when they enter the balance, so they never do.
            return False
        debt = max(ZERO, -self.balance)
        self.balance = add(self.balance, points)
        key = end_key(expiry)
        self._awarded[key] = add(self._awarded.get(key, ZERO), points)
        if points <= debt:
            return True
        if expiry is None:
            self._awards += 1
            self._unlimited[f"award:{self._awards}"] = at_ms, subtract(points, debt)
            return True
        left = (self.lots or {}).get(key)
        remaining = subtract(points, debt)
        if left is not None:
            remaining, granted_ms = add(remaining, left.remaining), left.granted_ms
        if expiry.after_days is not None:
            granted_ms = at_ms
        self._queue.put(key, Lot(remaining, granted_ms, expiry))
        return True

    def _reverse(self, owed: Decimal, expiry: PointsExpiry | None, matures_ms: int | None, at_ms: int) -> Decimal:
        """Take points back from what is left of an award with this end, and return those that are left to spend."""
        if matures_ms is not None and (waiting := self.pending.get(pending_key(matures_ms, expiry))) is not None:
            key, taken = pending_key(matures_ms, expiry), min(owed, waiting.points)
            owed = subtract(owed, taken)
            others = {other: each for other, each in self.pending.items() if other != key}
            left = replace(waiting, points=subtract(waiting.points, taken))
            self.pending = {**others, key: left} if left.points else others
        if expiry is None:
            return subtract(owed, self._take_unlimited(owed))
        key = end_key(expiry)
        if self.has_ended(expiry, at_ms):
            # What expired cannot be taken back. What was reversed before is no longer among the awarded points.
            spent = max(ZERO, subtract(self._awarded.get(key, ZERO), self._lapsed.get(key, ZERO)))
            owed = min(owed, spent)
            self._awarded[key] = subtract(self._awarded.get(key, ZERO), owed)
            self._reversed[key] = add(self._reversed.get(key, ZERO), owed)
            return owed
        self._awarded[key] = subtract(self._awarded.get(key, ZERO), owed)
        lot = (self.lots or {}).get(key)
        if lot is not None and owed > 0:
            taken = min(owed, lot.remaining)
            self._queue.take(key)
            self.balance = subtract(self.balance, taken)
            owed = subtract(owed, taken)
            if lot.remaining > taken:
                self._queue.put(key, replace(lot, remaining=subtract(lot.remaining, taken)))
        self._reversed[key] = add(self._reversed.get(key, ZERO), owed)
        return owed

    def _take_unlimited(self, owed: Decimal) -> Decimal:
        """Take points without an expiry, those of awards first, and return how many."""
        left = self.balance
        for lot in (self.lots or {}).values():
            left = subtract(left, lot.remaining)
        taken = max(ZERO, min(owed, left))
        self.balance = subtract(self.balance, taken)
        self._use_unlimited(taken, sorted(self._unlimited, key=lambda key: not key.startswith("award:")))
        return taken

    def _use_unlimited(self, owed: Decimal, keys: Iterable[str]) -> list[Taken]:
        """Take points from grants without an end, in this order, and return what each gave."""
        found: list[Taken] = []
        for key in keys:
            if owed <= 0:
                break
            granted_ms, remaining = self._unlimited[key]
            found.append(Taken(key, min(owed, remaining), granted_ms))
            if remaining > owed:
                self._unlimited[key] = granted_ms, subtract(remaining, owed)
            else:
                del self._unlimited[key]
            owed = subtract(owed, found[-1].points)
        return found

    def has_ended(self, expiry: PointsExpiry, at_ms: int) -> bool:
        """Return whether awards with this end have expired by `at_ms`, or are all spent and would have expired by then."""
        return end_key(expiry) not in (self.lots or {}) and expiry.expires_ms(self._active_ms) <= at_ms

    def _earn_or_spend(self, event: Event) -> None:
        """Add points without an expiry, or subtract negative points from the lots and grants."""
        points, before = event.points, self.balance
        if points > 0:
            self.balance = add(before, points)
            remaining = points if before >= 0 else self.balance
            if remaining > 0:
                self._unlimited[event.id] = event.order_ms, remaining
            return
        taken = self._spend(-points)
        if event.type == REDEMPTION:
            self._takes[event.id] = taken

    def _roll_back(self, event: Event, active_ms: int, at_ms: int) -> None:
        """Give the points of a redemption back. `active_ms` is the last activity before the rollback."""
        debt = max(ZERO, -self.balance)
        self.balance = add(self.balance, event.points)
        left = subtract(event.points, debt)
        # A debt is repaid with the points that end soonest, as they would have been spent for it.
        for taken in reversed(self._takes.get(event.correction_of or "", ())):
            points = min(left, taken.points)
            if points <= 0:
                return
            left = subtract(left, points)
            if taken.lot is None:
                granted_ms, remaining = self._unlimited.get(taken.key, (taken.granted_ms, ZERO))
                self._unlimited[taken.key] = granted_ms, add(remaining, points)
                continue
            lot = (self.lots or {}).get(taken.key)
            if lot is not None:
                self._queue.put(taken.key, replace(lot, remaining=add(lot.remaining, points)))
            elif taken.lot.expiry.expires_ms(max(active_ms, taken.lot.granted_ms)) <= at_ms:
                self._queue.put(taken.key, replace(taken.lot, remaining=points, expiry=PointsExpiry(at_ms)))
            else:
                self._queue.put(taken.key, replace(taken.lot, remaining=points))
        if left > 0:
            self._unlimited[event.id] = at_ms, left

    def _spend(self, owed: Decimal) -> list[Taken]:
        """Subtract points from the lots that expire soonest, then from the oldest grants; the rest becomes a debt.

        Return what was taken from each.
        """
        found: list[Taken] = []
        self.balance = subtract(self.balance, owed)
        while owed > 0 and (soonest := self._queue.find_soonest(self._active_ms)) is not None:
            event_id = soonest[2]
            lot = self._queue.take(event_id)
            found.append(Taken(event_id, min(owed, lot.remaining), lot.granted_ms, lot=lot))
            if lot.remaining > owed:
                self._queue.put(event_id, replace(lot, remaining=subtract(lot.remaining, owed)))
                return found
            owed = subtract(owed, lot.remaining)
        return found + self._use_unlimited(owed, list(self._unlimited))

    def _grant(self, event: Event, expiry: PointsExpiry, at_ms: int) -> None:
        if expiry.expires_ms(at_ms) <= at_ms:
            # The points expire before or when they are earned, so they never enter the balance.
            return
        debt = max(ZERO, -self.balance)
        self.balance = add(self.balance, event.points)
        if event.points > debt:
            self._queue.put(event.id, Lot(subtract(event.points, debt), at_ms, expiry))

    def _move_expiry(self, event: Event, expiry: PointsExpiry, at_ms: int) -> None:
        target = event.correction_of or ""
        if expiry.at_ms is not None:
            expiry = PointsExpiry(max(expiry.at_ms, at_ms))
        if self.lots is not None and target in self.lots:
            self._queue.put(target, replace(self._queue.take(target), expiry=expiry))
        elif target in self._unlimited:
            granted_ms, remaining = self._unlimited.pop(target)
            self._queue.put(target, Lot(remaining, granted_ms, expiry))


def moves_expiry(event: Event) -> bool:
    """Return whether the event grants no points, but moves the expiry of the points of the event that it corrects."""
    return event.points_expiry is not None and event.correction_of is not None and not event.points
