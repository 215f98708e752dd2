"""What happened to a pass at one instant of a walk, as rules are asked about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.activities import CauseKind
from app.domain.events.events import MERGE_FINISHED, Event

from .triggers import TierChange

MERGE_PREFIXES = ("mb:", "mf:")
"""Beginnings of the ids of the events that a merge records on the survivor."""
UNASKED = frozenset({CauseKind.EVENT_REMOVED.value, CauseKind.PASS_MERGED.value})
"""Causes of transitions and tier changes about which no rule is asked."""
OF_DEFINITIONS = frozenset({CauseKind.BACKFILL.value, CauseKind.DEFINITION_CHANGED.value})
"""Causes of transitions and tier changes about which only rules are asked that say so."""


@dataclass(frozen=True, slots=True)
class Transition:
    """Entry into a segment, or exit from it.

    - `number`: number of its activity in the pass.
    - `kind`: kind of its cause, as `CauseKind` has it; `event`: event that caused it, if one did.
    """

    segment_id: str
    entered: bool
    number: int
    kind: str
    event: Event | None = None
    historical: bool = False


@dataclass(frozen=True, slots=True)
class TierChanged:
    """Change of the tier of a pass. `before` and `after` are keys of tiers; None for no tier.

    `number`, `kind`, `event` and `historical` are those of a Transition.
    """

    change: TierChange
    before: str | None
    after: str | None
    number: int
    kind: str
    event: Event | None = None
    historical: bool = False


@dataclass(frozen=True, slots=True)
class Happened:
    """What rules are asked about after one evaluation, in the order in which it counted.

    `is_merge` is true if only events counted that a merge moved or recorded: then no rule is asked about the balance.
    `fires_rules` is true if a change of a definition caused the transitions, and says that rules are asked about them.
    """

    events: Sequence[Event] = ()
    transitions: Sequence[Transition] = ()
    tier_changes: Sequence[TierChanged] = ()
    is_merge: bool = False
    fires_rules: bool = False


def is_of_merge(event: Event) -> bool:
    """Return whether a merge moved or recorded the event, so that no rule is asked about it.

    An event that had not counted before it moved counts as if it had been recorded on the survivor. A difference that waited
    for the end of a merge is of the merge, too.
    """
    was_moved = event.move is not None and event.move.was_published
    cause = event.origin.cause if event.is_made else None
    return was_moved or event.type == MERGE_FINISHED or (cause or event.id).startswith(MERGE_PREFIXES)
