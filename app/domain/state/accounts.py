"""Accounts of points: of a pass as it is stored, and rebuilt from all events that count."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from app.domain.events.events import Event
from app.domain.events.ordering import sort_events

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
