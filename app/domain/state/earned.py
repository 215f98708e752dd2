"""Points that an event earns or spends, as sums of `points.earned` and `points.spent` count them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from app.domain.events.events import TRANSFERS, Event
from app.domain.values.decimals import ZERO, add, subtract


@dataclass(frozen=True, slots=True)
class PointTotals:
    """Points of a pass: what it has, what was earned and spent in all, and what has not entered the balance yet.

    `transferred` are the points that other passes sent, less those sent to them.
    """

    balance: Decimal
    pending: Decimal
    earned: Decimal = ZERO
    spent: Decimal = ZERO
    transferred: Decimal = ZERO

    @property
    def expired(self) -> Decimal:
        """The points that expired, less those whose award was taken back afterwards.

        So `earned` and `transferred` are `balance`, `pending`, `spent` and `expired` together.
        """
        gained = add(self.earned, self.transferred)
        return subtract(subtract(subtract(gained, self.spent), self.balance), self.pending)


def total_points(balance: Decimal, pending: Iterable[Decimal], events: Iterable[Event]) -> PointTotals:
    """Return the totals of a pass of which `events` are all that count and have points."""
    waiting = earned = spent = transferred = ZERO
    for points in pending:
        waiting = add(waiting, points)
    for event in events:
        earned = add(earned, earned_points(event))
        spent = add(spent, spent_points(event))
        transferred = add(transferred, event.points) if event.type in TRANSFERS else transferred
    return PointTotals(balance, waiting, earned=earned, spent=spent, transferred=transferred)


def earned_points(event: Event) -> Decimal:
    """Return the points that an event gives, negative for one that takes points back that another event gave.

    Points that another pass sent were earned there.
    """
    if event.type in TRANSFERS:
        return ZERO
    is_reversal = "reversal" in event.metadata if event.is_made else event.correction_of is not None
    return event.points if (event.points > 0) is not is_reversal else ZERO


def spent_points(event: Event) -> Decimal:
    """Return the points that an event spends, negative for one that gives points back that another event spent.

    Points that the pass sends to another one are not spent.
    """
    if event.type in TRANSFERS:
        return ZERO
    return -event.points if event.points and not earned_points(event) else ZERO
