"""Intervals: when a pass was in a segment, from the entry, inclusive, to the exit, exclusive.

An interval has the id of the activity of the entry. So it can be written again without harm, and built from the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum

from app.domain.activities import ENTERED, TRANSITIONS, Activity, activity_id

Cause = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Ending:
    """End of an interval: the instant of the exit, its cause, and the version of the segment under which it happened.

    `version` is None if the pass was erased before the interval was written.
    """

    at: datetime
    cause: Cause
    version: int | None


@dataclass(frozen=True, slots=True)
class Interval:
    """Stay of a pass in a segment. `ending` is None while it lasts.

    `pass_id` is the pass that answers: after a merge the survivor, and None after an erasure. `number` is that of the
    activity of the entry in the pass that entered. `version` is the version of the segment then, as in `Ending`.
    """

    id: str
    segment_id: str
    pass_id: str | None
    number: int
    entered_at: datetime
    cause: Cause
    version: int | None
    ending: Ending | None = None

    def holds_at(self, at: datetime) -> bool:
        """Return whether the pass was in the segment at an instant."""
        return self.entered_at <= at and (self.ending is None or at < self.ending.at)

    def versions(self, present_version: int | None) -> range:
        """Return the versions of the segment from the entry to the exit, or to the present one while the interval lasts.

        None are returned if the pass was erased before the interval was written.
        """
        last = present_version if self.ending is None else self.ending.version
        return range(0) if self.version is None else range(self.version, max(self.version, last or 0) + 1)


class Change(StrEnum):
    """What happened to the membership of a pass between two instants."""

    ENTERED = "ENTERED"
    LEFT = "LEFT"
    STAYED = "STAYED"


@dataclass(frozen=True, slots=True)
class Stay:
    """Pass that answers for an interval, and the interval."""

    pass_id: str
    interval: Interval


def change_of(intervals: Sequence[Interval], start: datetime, end: datetime) -> tuple[Change, Interval] | None:
    """Return what happened to a pass with these intervals, and its interval at the end, or at the start if it left.

    None if the pass was no member at either instant.
    """
    by_entry = sorted(intervals, key=lambda each: each.entered_at)
    before, after = (next((each for each in by_entry if each.holds_at(at)), None) for at in (start, end))
    if after is not None:
        return (Change.ENTERED if before is None else Change.STAYED), after
    return None if before is None else (Change.LEFT, before)


def interval_of(activity: Activity) -> Interval:
    """Return the interval that an entry begins."""
    return Interval(
        id=activity_id(activity.pass_id, activity.pass_sequence),
        segment_id=str(activity.segment_id),
        pass_id=activity.pass_id,
        number=activity.pass_sequence,
        entered_at=activity.occurred_at,
        cause=activity.cause,
        version=_version_of(activity),
    )


def ending_of(activity: Activity) -> Ending:
    """Return the end of an interval that an exit makes."""
    return Ending(activity.occurred_at, activity.cause, _version_of(activity))


def ended_id(activity: Activity) -> str | None:
    """Return the id of the interval that an exit ends; None if an earlier version wrote the entry, and no number."""
    return None if activity.entered is None else activity_id(activity.pass_id, activity.entered)


def build_intervals(log: Iterable[Activity]) -> dict[str, Interval]:
    """Return by id the intervals of a log, in its order, as before every merge and erasure."""
    found: dict[str, Interval] = {}
    last: dict[tuple[str, str | None], str] = {}
    for activity in log:
        key = activity.pass_id, activity.segment_id
        if activity.type == ENTERED:
            interval = interval_of(activity)
            found[interval.id], last[key] = interval, interval.id
        elif activity.type in TRANSITIONS and key in last:
            # Entries and exits of a pass alternate, so an exit ends the last entry.
            ended = last.pop(key)
            found[ended] = replace(found[ended], ending=ending_of(activity))
    return found


@dataclass(frozen=True, slots=True)
class DayKey:
    """One UTC day of a segment."""

    segment_id: str
    day: date

    @property
    def id(self) -> str:
        """The id of the document that counts the day."""
        return f"{self.segment_id}:{self.day.isoformat()}"


def day_of(activity: Activity) -> DayKey:
    """Return the day in which a transition is counted: that of its instant, in UTC."""
    return DayKey(str(activity.segment_id), activity.occurred_at.date())


def _version_of(activity: Activity) -> int | None:
    """Return the version of the segment that a transition names; None if its data are emptied."""
    segment = activity.data.get("segment")
    version = segment.get("version") if isinstance(segment, Mapping) else None
    return version if isinstance(version, int) else None
