"""Accounts of points: of a pass as it is stored, and rebuilt from all events that count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from app.domain.events.events import INTERNAL_TYPES, REDEMPTION_ROLLBACK, Event
from app.domain.events.ordering import sort_events
from app.domain.events.replays import Replay

from .aggregates import Aggregates
from .lots import ExpiredLot, Lots, Pending, last_active_ms
from .points import PointsAccount


def points_account_of(
    balance: Decimal, lots: Lots | None, aggregates: Aggregates, pending: Pending | None = None
) -> PointsAccount:
    """Return the account of a pass from its stored balance, lots, pending points and aggregates."""
    active_ms = last_active_ms(aggregates) if lots or pending else 0
    return PointsAccount(balance, lots, active_ms, pending=pending)


def rebuild_account(events: Iterable[Event], at_ms: int) -> tuple[PointsAccount, list[ExpiredLot]]:
    """Return the account at `at_ms` and all lots that expired by then, from all events that count, in any order."""
    account = PointsAccount()
    expired: list[ExpiredLot] = []
    # A slow worker may read, as history, events that another worker counted meanwhile, so that it has them twice. The
    # compare-and-set rejects the result of such a walk, but the walk must not raise: the sort keeps each event once.
    for event in sort_events(events):
        expired += account.pass_time(event.order_ms)[0]
        account.count(event)
    return account, expired + account.pass_time(at_ms)[0]


Counted = tuple[PointsAccount, list[ExpiredLot]]
"""An account, and all lots that have expired."""


class AccountReplay:
    """Accounts that `rebuild_account` would return, while more events join that count.

    Most events have no points. Events without points are left out as long as no points end by inactivity.
    """

    def __init__(self, events: Sequence[Event]) -> None:
        self._follows_activity = any(map(_ends_by_inactivity, events))
        self._active_ms = 0
        self._note_activity(events)
        self._replay: Replay[Counted] = Replay(
            events, (PointsAccount(), []), count=_count, copy=_copy,
            is_relevant=lambda event: self._follows_activity or _has_points(event),
        )  # fmt: skip

    def take_examined(self) -> int:
        """Return the number of events that joined, or were counted, since the last call."""
        return self._replay.take_examined()

    def join(self, events: Sequence[Event]) -> bool:
        """Add events that count, too. Return false if only a new replay of all events gives the account."""
        if not self._follows_activity and any(map(_ends_by_inactivity, events)):
            return False
        self._note_activity(events)
        return self._replay.join(events)

    def rebuild(self, at_ms: int) -> Counted:
        """Return the account at `at_ms` and all lots that expired by then."""
        account, expired = self._replay.run()
        account.note_activity(self._active_ms)
        return account, expired + account.pass_time(at_ms)[0]

    def _note_activity(self, events: Iterable[Event]) -> None:
        active = (event.occurred_ms for event in events if not event.is_made and event.type not in INTERNAL_TYPES)
        self._active_ms = max(self._active_ms, max(active, default=0))


def _count(counted: Counted, event: Event) -> Counted:
    account, expired = counted
    expired += account.pass_time(event.order_ms)[0]
    account.count(event)
    return counted


def _copy(counted: Counted) -> Counted:
    account, expired = counted
    return account.copy(), list(expired)


def _has_points(event: Event) -> bool:
    return bool(event.points) or event.points_expiry is not None or event.type == REDEMPTION_ROLLBACK


def _ends_by_inactivity(event: Event) -> bool:
    return event.points_expiry is not None and event.points_expiry.after_days is not None
