"""Lots: points of a pass that expire, and points that are not in the balance yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from app.domain.events.events import INTERNAL_TYPES
from app.domain.events.points_expiry import PointsExpiry
from app.domain.values.decimals import ZERO, add

from .aggregates import Aggregates


@dataclass(frozen=True, slots=True)
class Lot:
    """Remaining points of one grant that expires, the instant of the grant, and its expiry.

    Awards with the same end share a lot. Its instant is that of the first award; that of the last one if inactivity ends it.
    """

    remaining: Decimal
    granted_ms: int
    expiry: PointsExpiry


@dataclass(frozen=True, slots=True)
class Taken:
    """Points that a redemption took from a lot, or from a grant without an end if `lot` is None.

    `key` is that of the lot, or the id of the event that granted the points.
    """

    key: str
    points: Decimal
    granted_ms: int
    lot: Lot | None = None


Lots = Mapping[str, Lot]
"""Lots by the id of the event that granted the points; those of awards by their end, see `end_key`."""


@dataclass(frozen=True, slots=True)
class PendingPoints:
    """Points of awards that enter the balance at one instant and have the same end, and the instant of the first award."""

    points: Decimal
    granted_ms: int
    matures_ms: int
    expiry: PointsExpiry | None = None


Pending = Mapping[str, PendingPoints]
"""Pending points, by the instant at which they enter the balance and their end."""


@dataclass(frozen=True, slots=True)
class Matured:
    """Points that entered the balance, the instant, and the balance afterwards."""

    points: Decimal
    at_ms: int
    balance: Decimal


@dataclass(frozen=True, slots=True)
class ExpiredLot:
    """Points of a lot that expired, the instant of expiry, and the balance afterwards.

    `event_id` is the key of the lot: the id of the event that granted the points, or the end of awards.
    """

    event_id: str
    points: Decimal
    at_ms: int
    balance: Decimal


def end_key(expiry: PointsExpiry | None) -> str:
    """Return the key of the lot that awards with this end share."""
    if expiry is None:
        return "never"
    return f"at:{expiry.at_ms}" if expiry.after_days is None else f"idle:{expiry.after_days}"


def is_end_key(key: str) -> bool:
    """Return whether a lot has the key of an end, not the id of an event."""
    return key.startswith(("at:", "idle:"))


LotKey = tuple[int, int, str]
"""Order of lots: (instant of expiry in ms, or days without activity; instant of the grant in ms; event id)."""


def lot_key(event_id: str, lot: Lot) -> LotKey:
    """Return the key by which lots are ordered."""
    expiry = lot.expiry.expires_ms(0) if lot.expiry.after_days is None else lot.expiry.after_days
    return expiry, lot.granted_ms, event_id


def pending_key(matures_ms: int, expiry: PointsExpiry | None) -> str:
    """Return the key of pending points that enter the balance at an instant and have this end."""
    return f"{matures_ms}:{end_key(expiry)}"


def last_active_ms(aggregates: Aggregates) -> int:
    """Return the instant of the customer's last activity, in ms; 0 for none. Internal events are no activity."""
    return max((row.last_ms for (kind, _), row in aggregates.items() if kind not in INTERNAL_TYPES), default=0)


def find_expiries(lots: Lots | None, aggregates: Aggregates) -> list[tuple[int, Decimal]]:
    """Return (ms, points) of the coming expiries, the soonest first, provided that nothing more happens on the pass."""
    active_ms = last_active_ms(aggregates) if lots else 0
    points_by_expiry: dict[int, Decimal] = {}
    for key, lot in (lots or {}).items():
        # Inactivity that ends an award begins no earlier than the award.
        expires_ms = lot.expiry.expires_ms(max(active_ms, lot.granted_ms) if is_end_key(key) else active_ms)
        points_by_expiry[expires_ms] = add(points_by_expiry.get(expires_ms, ZERO), lot.remaining)
    return sorted(points_by_expiry.items())
