"""Filters of the feed: which activities a list, stream, export or webhook endpoint selects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from .activities import UNLESS_NAMED, Activity
from .values.conditions import Condition
from .values.paths import split_keys


@dataclass(frozen=True, slots=True)
class ActivityQuery:
    """Filter of a list, stream, export or webhook of activities. An empty field matches every activity.

    - `aliases`: further passes beside `pass_id`.
    - `occurred_after`, `recorded_after` are inclusive; `occurred_before`, `recorded_before` are exclusive.
    - `event_types`, `sources`, `metadata`: conditions on the event that the activity carries in its data: the event that
      it is about, or that caused it. An activity without an event, or with one that was removed, meets none of them.
    - `except_event_types`: the activity carries no event of these types. Do not give it with a condition on the event.
    - `among_segments`: an activity that names a segment names one of these.
    - `causes`: kinds of causes. The creation and the erasure of a pass have no cause.
    """

    types: Sequence[str] = ()
    category: str | None = None
    pass_id: str | None = None
    aliases: Sequence[str] = ()
    segment_ids: Sequence[str] = ()
    occurred_after: datetime | None = None
    occurred_before: datetime | None = None
    include_silent: bool = False
    include_historical: bool = True
    recorded_after: datetime | None = None
    recorded_before: datetime | None = None
    event_types: Sequence[str] = ()
    sources: Sequence[str] = ()
    metadata: Sequence[Condition] = ()
    causes: Sequence[str] = ()
    among_segments: Sequence[str] | None = None
    except_event_types: Sequence[str] = ()

    def matches(self, activity: Activity) -> bool:
        """Return whether the activity passes the filter. Lists, streams, exports and webhooks all use this rule."""
        return (
            (activity.type in self.types if self.types else activity.type not in UNLESS_NAMED)
            and (not self.segment_ids or activity.segment_id in self.segment_ids)
            and (self.among_segments is None or activity.segment_id in (None, *self.among_segments))
            and self.category in (None, activity.category)
            and (self.pass_id is None or activity.pass_id == self.pass_id or activity.pass_id in self.aliases)
            and (self.occurred_after is None or activity.occurred_at >= self.occurred_after)
            and (self.occurred_before is None or activity.occurred_at < self.occurred_before)
            and (self.recorded_after is None or activity.recorded_at >= self.recorded_after)
            and (self.recorded_before is None or activity.recorded_at < self.recorded_before)
            and (self.include_silent or not activity.silent)
            and (self.include_historical or not activity.historical)
            and (not self.causes or activity.cause.get("kind") in self.causes)
            and (not self.asks_for_event or self._matches_event(activity))
            and (not self.except_event_types or event_type_in(activity.data) not in self.except_event_types)
        )

    @property
    def asks_for_event(self) -> bool:
        """Whether the filter has a condition on the event that an activity carries."""
        return bool(self.event_types or self.sources or self.metadata)

    def _matches_event(self, activity: Activity) -> bool:
        event = event_in(activity.data)
        if event is None:
            return False
        if self.event_types and event["type"] not in self.event_types:
            return False
        if self.sources and event["source"] not in self.sources:
            return False
        details = split_keys(event["metadata"]) if self.metadata else None
        return all(condition.holds(details) for condition in self.metadata)


def event_in(data: Mapping[str, object]) -> Mapping[str, object] | None:
    """Return the event in the data of an activity; None without an event, and for one that was removed."""
    event = data.get("event")
    return cast(Mapping[str, object], event) if isinstance(event, Mapping) and "type" in event else None


def event_type_in(data: Mapping[str, object]) -> object:
    """Return the type of the event in the data of an activity; None as `event_in`."""
    event = event_in(data)
    return None if event is None else event["type"]


def match_none(activity: Activity) -> bool:
    """Return False, as the filter of a stream that can match no activity."""
    return False
