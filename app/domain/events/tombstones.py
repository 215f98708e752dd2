"""Tombstones: events that remove another event, or end a whole pass by erasure or merge. The fold applies them.

A tombstone is an immutable event document. Its id follows from its target, so inserting it twice has no effect.
(Source: docs/explanation/exactly-once.md, "Removals, merges and erasures".)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from .events import EVENT_REMOVED, PASS_ERASED, PASS_MERGED

PREFIX = "rm:"
MERGE = "mg:"


def tombstone_id(target_id: str) -> str:
    """Return the id of the tombstone of an event, or of an erased pass."""
    return PREFIX + target_id


def target_of(event_id: str) -> str | None:
    """Return the id of the event or pass that a tombstone removes; None for the ids of merges and other events."""
    return event_id.removeprefix(PREFIX) if event_id.startswith(PREFIX) else None


def merge_id(pass_id: str) -> str:
    """Return the id of the tombstone of a merged pass."""
    return MERGE + pass_id


def is_tombstone(event_id: str) -> bool:
    """Return whether the id belongs to a tombstone."""
    return event_id.startswith((PREFIX, MERGE))


def targets_of(event_ids: Iterable[str]) -> frozenset[str]:
    """Return the ids of the events and passes that the tombstones among these ids remove."""
    return frozenset(target for event_id in event_ids if (target := target_of(event_id)) is not None)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Tombstone of an event, of an erased pass or of a merged pass.

    - `removes`: id of the event, else None.
    - `into`: id of the survivor, for a merged pass.
    - `target_hour_ms`: of the removal of an event that its caller could read, the first instant of the UTC hour in which
      the event occurred. The fold marks that hour when the event is a stub, which has no instant.
    """

    pass_id: str
    removes: str | None
    recorded_at: datetime
    into: str | None = None
    target_hour_ms: int | None = None

    @property
    def id(self) -> str:
        """The id of the tombstone, which follows from its target."""
        if self.into is not None:
            return merge_id(self.pass_id)
        return tombstone_id(self.pass_id if self.removes is None else self.removes)

    @property
    def type(self) -> str:
        """The internal event type of the tombstone."""
        if self.into is not None:
            return PASS_MERGED
        return PASS_ERASED if self.removes is None else EVENT_REMOVED


@dataclass(frozen=True, slots=True)
class Erasure:
    """Progress and figures of the erasure of a pass, without personal data.

    All fields but the first are None or empty until the fold has applied the erasure.

    - `events`: number of events that the pass had counted.
    - `aggregates`: number of rows of its totals.
    - `segments`: ids of the segments that it left.
    - `activities`: number of its activities, whose data is removed.
    - `done`: all personal data is removed.
    """

    pass_id: str
    erased_at: datetime | None = None
    events: int | None = None
    aggregates: int | None = None
    segments: tuple[str, ...] = ()
    activities: int | None = None
    done: bool = False
