"""Removals: tombstones of events and of whole passes, which flow through the fold like the events they take away.

A tombstone is an event document of its own, never changed, whose id follows from what it removes: inserting it again is
the same. (Source: docs/explanation/exactly-once.md, "Removal".)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from .events import EVENT_REMOVED, PASS_ERASED, PASS_MERGED

PREFIX = "rm:"
MERGE = "mg:"


def tombstone_id(target_id: str) -> str:
    """The id of the tombstone of an event or of a pass."""
    return PREFIX + target_id


def target_of(event_id: str) -> str | None:
    """What the tombstone of this id removes; None for the id of any other event."""
    return event_id.removeprefix(PREFIX) if event_id.startswith(PREFIX) else None


def merge_id(pass_id: str) -> str:
    """The id of the tombstone of a pass that goes on as a part of another one."""
    return MERGE + pass_id


def is_tombstone(event_id: str) -> bool:
    """Whether the id is one of a tombstone."""
    return event_id.startswith((PREFIX, MERGE))


def targets_of(event_ids: Iterable[str]) -> frozenset[str]:
    """What the tombstones among these ids remove."""
    return frozenset(target for event_id in event_ids if (target := target_of(event_id)) is not None)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """That an event (`removes`), or everything there is of a pass (None), goes; instants are the server's.

    With `into` the pass goes on as a part of that one; `rank` orders the merges of a workspace.
    """

    pass_id: str
    removes: str | None
    recorded_at: datetime
    into: str | None = None
    rank: int | None = None

    @property
    def id(self) -> str:
        """The id that follows from what it removes."""
        if self.into is not None:
            return merge_id(self.pass_id)
        return tombstone_id(self.pass_id if self.removes is None else self.removes)

    @property
    def type(self) -> str:
        """The internal type of event that it is stored as."""
        if self.into is not None:
            return PASS_MERGED
        return PASS_ERASED if self.removes is None else EVENT_REMOVED


@dataclass(frozen=True, slots=True)
class Erasure:
    """What the erasure of a pass changed; nothing in it is personal. None is what the fold has not come to yet.

    `events` counted in the pass until then, in `aggregates` rows of totals; `segments` are those it left (their ids),
    `activities` the lines of the feed that are emptied, `done` says that nothing is left to be emptied.
    """

    pass_id: str
    erased_at: datetime | None = None
    events: int | None = None
    aggregates: int | None = None
    segments: tuple[str, ...] = ()
    activities: int | None = None
    done: bool = False
