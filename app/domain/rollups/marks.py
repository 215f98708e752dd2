"""Which heads of rollups a change of the counted events marks.

A head is a small document for each hour, day and month, which says whether its content is valid. It is *marked* while its
content may differ from the events. (Source: docs/explanation/exactly-once.md, "Marks".)
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from app.domain.events.events import INTERNAL_TYPES
from app.domain.values.instants import to_ms

from .levels import Level


class HeadKey(NamedTuple):
    """What names a head: its workspace, its level and the first instant of its period, in milliseconds."""

    workspace_id: str
    level: Level
    start_ms: int


def counted_hour_of(event_type: str, occurred_at: datetime) -> int | None:
    """Return the hour whose rollup holds an event of this type once it counts, by its first instant in milliseconds.

    None for an internal type, which no rollup holds.
    """
    return None if event_type in INTERNAL_TYPES else Level.HOUR.start_ms(to_ms(occurred_at))
