"""Causes: why an activity happened, and why a pass is in a segment."""

from __future__ import annotations

from collections.abc import Mapping

import strawberry

from app.graphql.context import Info
from app.graphql.events.events import Event
from app.graphql.types.enums import ActivityCauseKind
from app.graphql.types.node import fetch_node


@strawberry.type
class ActivityCause:
    """Cause of an activity or of a membership."""

    kind: ActivityCauseKind = strawberry.field(description="Kind of the cause.")
    segment_version: int | None = strawberry.field(
        description="Version of the segment, or of the tier program, that caused the change. Null unless the kind is "
        "`BACKFILL` or `DEFINITION_CHANGED`."
    )
    event_id: strawberry.Private[str | None]

    @strawberry.field
    async def event(self, info: Info) -> Event | None:
        """Event that caused the change. Null if no event did, or if the event was removed."""
        if self.event_id is None:
            return None
        event: Event | None = await fetch_node(info.context, "Event", self.event_id)
        return event


def cause_of(cause: Mapping[str, object]) -> ActivityCause | None:
    """Return the GraphQL object of a stored cause {kind, event?, version?}, or None for an empty one."""
    if "kind" not in cause:
        return None
    event, version = cause.get("event"), cause.get("version")
    return ActivityCause(
        kind=ActivityCauseKind(str(cause["kind"])),
        segment_version=version if isinstance(version, int) else None,
        event_id=None if event is None else str(event),
    )
