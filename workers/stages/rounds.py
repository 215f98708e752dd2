"""What one round of the fold has read, and what it does with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.events.events import Event
from app.domain.events.guards import Decision
from app.domain.passes.passes import Pass
from app.store.stages.pending import BacklogPosition, PendingEvent

from .reads import PassWork

EventRef = tuple[str, str, str]
"""An event to be cleared or replaced by a stub: workspace id, pass id, event id."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Pending events of a slot range, as one round read them: by pass, in index order.

    `start` is the pass after which reading began, None for the beginning of the range. `is_full` is true if
    more events may be pending than were read. `turns` are the passes of other workspaces, which were read out of order
    (see `turns.py`). `cut` are the passes of which more events may be pending than were read.
    """

    start: BacklogPosition | None
    by_pass: Mapping[str, Sequence[PendingEvent]]
    is_full: bool
    turns: frozenset[str] = frozenset()
    cut: frozenset[str] = frozenset()

    def events_of(self, pass_id: str) -> list[Event]:
        """Return the pending events of a pass, by (occurred_at, id)."""
        return [item.event for item in self.by_pass[pass_id]]


@dataclass(frozen=True, slots=True)
class FoldRound:
    """What one round does with the pending events it read."""

    works: list[PassWork] = field(default_factory=list)
    """Passes to advance over their events."""
    marks: list[EventRef] = field(default_factory=list)
    """Events that an earlier write counted or declined, to be cleared only."""
    decisions: dict[str, Decision] = field(default_factory=dict)
    """What those writes decided about some of `marks`, by event id."""
    strays: list[tuple[Pass, Event]] = field(default_factory=list)
    """Events recorded on a merged pass, to be forwarded to its survivor."""
    emptied: list[EventRef] = field(default_factory=list)
    """Events recorded after the erasure of their pass was finished, to be replaced by stubs."""
