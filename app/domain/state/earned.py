"""Points that an event earns or spends, as sums of `points.earned` and `points.spent` count them."""

from __future__ import annotations

from decimal import Decimal

from app.domain.events.events import Event
from app.domain.values.decimals import ZERO


def earned_points(event: Event) -> Decimal:
    """Return the points that an event gives, negative for one that takes points back that another event gave."""
    is_reversal = "reversal" in event.metadata if event.is_made else event.correction_of is not None
    return event.points if (event.points > 0) is not is_reversal else ZERO


def spent_points(event: Event) -> Decimal:
    """Return the points that an event spends, negative for one that gives points back that another event spent."""
    return -event.points if event.points and not earned_points(event) else ZERO
