"""Filters and orders of lists of passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from app.domain.values.conditions import Condition
from app.domain.values.instants import EARLIEST, to_ms

from .passes import Pass
from .search_tokens import Search, name_key

NO_EVENT_MS = to_ms(EARLIEST) - 1
"""What stands for the instant of the last event of a pass without one, before all instants of events."""


class PassOrderField(StrEnum):
    """Value by which a list of passes is ordered. Passes with the same value are in the order of their ids."""

    CREATED = "CREATED"
    LAST_EVENT = "LAST_EVENT"
    NAME = "NAME"
    POINTS = "POINTS"


@dataclass(frozen=True, slots=True)
class PassOrder:
    """Order of a list of passes."""

    field: PassOrderField = PassOrderField.CREATED
    ascending: bool = False


@dataclass(frozen=True, slots=True)
class PassQuery:
    """Filter of a list of passes. A pass matches if it meets every condition; None and an empty search match each pass.

    - `ids`: the passes themselves, or the survivors of merged ones.
    - `segment_ids`: the pass is in one of these segments; `not_in_segment_ids`: it is in none of them.
    - `fields`: conditions on the fields of the pass.
    - `…_after` is inclusive, `…_before` exclusive. Both bounds of the last event leave out passes without an event.
    - `consent`: key of a consent that is given.
    """

    search: Search = field(default_factory=Search)
    ids: Sequence[str] | None = None
    segment_ids: Sequence[str] | None = None
    not_in_segment_ids: Sequence[str] = ()
    statuses: Sequence[str] | None = None
    tier_keys: Sequence[str] | None = None
    fields: Sequence[Condition] = ()
    created_after: datetime | None = None
    created_before: datetime | None = None
    last_event_after: datetime | None = None
    last_event_before: datetime | None = None
    points_min: Decimal | None = None
    points_max: Decimal | None = None
    consent: str | None = None

    @property
    def matches_none(self) -> bool:
        """Whether a list of values is empty, so that no pass can match."""
        return any(values is not None and not values for values in self._listed)

    @property
    def _listed(self) -> tuple[Sequence[str] | None, ...]:
        return self.ids, self.segment_ids, self.statuses, self.tier_keys


def sort_key(card: Pass, order: PassOrderField) -> tuple[int | str | Decimal, str]:
    """Return the key of a pass in a list: the value by which the list is ordered, and the id."""
    match order:
        case PassOrderField.CREATED:
            return to_ms(card.created_at), card.id
        case PassOrderField.LAST_EVENT:
            return NO_EVENT_MS if card.last_event_ms is None else card.last_event_ms, card.id
        case PassOrderField.NAME:
            return name_key(card.profile), card.id
    return card.points, card.id
