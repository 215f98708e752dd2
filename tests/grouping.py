"""Groups of events that a test has in memory, for comparison with those of the store."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.events.events import Event
from app.domain.state.aggregations import Aggregation, Group
from app.domain.state.grouping import Grouping


def aggregate_groups(aggregation: Aggregation, events: Iterable[Event]) -> list[Group]:
    """Return the groups of these events, in no particular order."""
    grouping = Grouping(aggregation)
    grouping.add(events)
    return grouping.compute()
