"""What a question reads of the counted events, and the answer: rows, how fresh they are, and what was read for them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from app.domain.events.events import Category

from .rows import CountedRow


class Cells(StrEnum):
    """Width of the cells of time that the rows of a reading lie in.

    - TOTAL: rows of any width; `start_ms` says nothing but that the row lies in the period.
    - DAY: each row lies in one day of the time zone. Several rows may lie in one day.
    - QUARTER_HOUR: each row lies in one quarter of an hour.
    """

    TOTAL = "TOTAL"
    DAY = "DAY"
    QUARTER_HOUR = "QUARTER_HOUR"


@dataclass(frozen=True, slots=True)
class Selection:
    """Filter of counted events: those that occurred in [from_ms, to_ms) and meet all conditions.

    An empty list, and None, matches every event. Events that walks made are selected, too: their rows are marked as made,
    and each question decides whether it counts them.
    """

    from_ms: int
    to_ms: int
    types: Collection[str] = ()
    categories: Collection[Category] = ()
    sources: Collection[str] = ()
    currency: str | None = None
    cells: Cells = Cells.TOTAL


@dataclass(frozen=True, slots=True)
class Freshness:
    """How current rows are, with instants in milliseconds.

    - `as_of_ms`: instant of the question.
    - `computed_through_ms`: instant up to which the rows include everything that was recorded or requested.
    - `pending_events`: number of recorded or requested changes that the rows do not include yet.
    - `error`: largest relative error that is expected of an estimate; None for rows, which are no estimates.
    """

    as_of_ms: int
    computed_through_ms: int
    pending_events: int = 0
    exact: bool = True
    error: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What was read for rows: numbers of sealed months, days and hours, and of hours read from their events.

    `reason` says why the whole period was read from events. It is None for rows from rollups.
    """

    months: int = 0
    days: int = 0
    hours: int = 0
    event_hours: int = 0
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """Rows of a selection. Rows of the same cell, type and key may repeat: `add_rows` adds them up."""

    rows: Sequence[CountedRow]
    freshness: Freshness
    plan: Plan
