"""Order of the groups of an aggregation, and the values that a group must have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from .aggregations import Group


class GroupOrder(StrEnum):
    """Order of the groups."""

    KEY = "KEY"
    VALUE = "VALUE"
    VALUE_ASC = "VALUE_ASC"


@dataclass(frozen=True, slots=True)
class Ranking:
    """Order of groups, and bounds of their values, both inclusive. Groups of equal value are in the order of their keys."""

    order: GroupOrder = GroupOrder.KEY
    at_least: Decimal | None = None
    at_most: Decimal | None = None

    @property
    def by_value(self) -> bool:
        """Whether the groups are in the order of their values."""
        return self.order is not GroupOrder.KEY

    def rank(self, groups: Iterable[Group]) -> list[Group]:
        """Return the groups within the bounds, in order."""
        found = sorted((group for group in groups if self._holds(group.value)), key=key_order)
        if self.by_value:
            # A stable sort in reverse keeps the order of equal values, too.
            found.sort(key=lambda group: group.value or Decimal(0), reverse=self.order is GroupOrder.VALUE)
        return found

    def _holds(self, value: Decimal | None) -> bool:
        if value is None:
            return self.at_least is None and self.at_most is None
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


def key_order(group: Group) -> tuple[str, ...]:
    """Return what sorts groups by their keys, ascending. Absent values come first."""
    return tuple("" if v is None else v.isoformat() if isinstance(v, datetime) else v for v in group.key)
