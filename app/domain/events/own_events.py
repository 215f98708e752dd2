"""Events that Punchcard records itself: they carry no amount."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType

from app.domain.values.decimals import ZERO

from .events import OWN_SOURCE, Category, Event, Origin

_NOTHING: Mapping[str, object] = MappingProxyType({})


def own_event(
    event_id: str,
    pass_id: str,
    kind: str,
    *,
    at: datetime,
    origin: Origin,
    recorded_at: datetime | None = None,
    category: Category = Category.CUSTOM,
    metadata: Mapping[str, object] = _NOTHING,
    changes: Mapping[str, object] = _NOTHING,
    root: str | None = None,
    points: Decimal = ZERO,
    correction_of: str | None = None,
    corrected_order: tuple[int, int] | None = None,
) -> Event:
    """Return an event of an internal type that occurred at an instant, and was recorded then or at `recorded_at`."""
    return Event(
        id=event_id,
        pass_id=pass_id,
        category=category,
        type=kind,
        amount=None,
        currency=None,
        points=points,
        source=OWN_SOURCE,
        external_id=None,
        metadata=dict(metadata),
        occurred_at=at,
        recorded_at=at if recorded_at is None else recorded_at,
        origin=origin,
        changes=dict(changes),
        root=root,
        correction_of=correction_of,
        corrected_order=corrected_order,
    )
