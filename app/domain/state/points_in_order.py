"""Whether the points of events can be added to an account, or only a rebuild from all events gives the right account."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.events.events import REDEMPTION_ROLLBACK, Event
from app.domain.events.ordering import is_made_here

from .lots import Lots, Pending
from .points import PointsAccount, moves_expiry


def can_count_in_order(account: PointsAccount, events: Sequence[Event], at_ms: int, before_ms: int) -> bool:
    """Return whether the events of one instant can be added to an account that has counted until `before_ms`.

    If not, the caller rebuilds the account from all events that count. The order of points without an expiry does not
    matter.
    """
    if any(is_late_difference(account, event, at_ms) for event in events):
        return False
    if account.lots is None and not account.pending and not any(map(_has_end_or_start, events)):
        return True
    if any(event.type == REDEMPTION_ROLLBACK for event in events):
        return False
    return all(
        (before_ms < event.occurred_ms or is_made_here(event))
        and event.occurred_ms == at_ms
        and not moves_expiry(event)
        for event in events
    )


def is_late_difference(account: PointsAccount, event: Event, at_ms: int) -> bool:
    """Return whether the event changes an award whose end has passed, so that only a rebuild finds what was spent of it."""
    expiry = event.points_expiry
    is_difference = event.points < 0 or event.origin.target is not None
    return is_difference and expiry is not None and account.has_ended(expiry, at_ms)


def needs_history(lots: Lots | None, pending: Pending, events: Sequence[Event], at_ms: int) -> bool:
    """Return whether a walk over these events, from `at_ms` on, may have to rebuild the account."""
    if lots is None and not pending and not any(map(_has_end_or_start, events)):
        return False
    return any(
        event.historical
        or event.occurred_ms <= at_ms
        or moves_expiry(event)
        or event.type == REDEMPTION_ROLLBACK
        or _may_follow_later_event(event)
        for event in events
    )


def _has_end_or_start(event: Event) -> bool:
    """Return whether the order of the event among those of other instants matters."""
    return event.points_expiry is not None or event.matures_ms is not None


def _may_follow_later_event(event: Event) -> bool:
    """Return whether the event is a correction that counts at a later instant than its own, as far as is known."""
    if event.correction_of is None:
        return False
    return event.corrected_order is None or event.order_ms > event.occurred_ms
