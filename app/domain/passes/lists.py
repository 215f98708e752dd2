"""Lists of segments: passes that belong to a segment, or do not, whatever its criteria say.

A change of a list is an internal event of the pass. So it follows the order of events, merges, removals and erasures.
"""

from __future__ import annotations

from collections.abc import Mapping

from app.domain.events.events import LIST_ADDED, LIST_EVENTS, Event

INCLUDE, EXCLUDE = "INCLUDE", "EXCLUDE"
"""Lists of a segment: the passes that belong to it, and those that do not. A pass is on one of them at most."""


def list_metadata(segment_id: str, name: str) -> dict[str, object]:
    """Return the metadata of an event that changes a list."""
    return {"segment": segment_id, "list": name}


def changes_list(event: Event, segment_id: str) -> bool:
    """Return whether an event changes a list of the segment."""
    return event.type in LIST_EVENTS and event.metadata.get("segment") == segment_id


def change_lists(lists: Mapping[str, str], event: Event) -> Mapping[str, str]:
    """Return the lists of a pass after one more event, which is later than all events applied before.

    Adding to one list takes the pass off the other one. Removing from a list that the pass is not on changes nothing.
    """
    segment_id, name = str(event.metadata["segment"]), str(event.metadata["list"])
    if event.type == LIST_ADDED:
        return {**lists, segment_id: name}
    return {key: value for key, value in lists.items() if (key, value) != (segment_id, name)}
