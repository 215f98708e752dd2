"""Filters of lists of events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from app.domain.values.conditions import Condition

from .events import Category


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Filter of a list of events. An empty field matches every event. Of `except_types`, none matches without `types`.

    The bounds `…_after` are inclusive, the bounds `…_before` exclusive.
    """

    pass_id: str | None = None
    categories: Sequence[Category] = ()
    types: Sequence[str] = ()
    sources: Sequence[str] = ()
    currency: str | None = None
    occurred_after: datetime | None = None
    occurred_before: datetime | None = None
    recorded_after: datetime | None = None
    recorded_before: datetime | None = None
    amount_min: Decimal | None = None
    amount_max: Decimal | None = None
    external_id: str | None = None
    metadata: Sequence[Condition] = ()
    channel: str | None = None
    except_types: Sequence[str] = ()
