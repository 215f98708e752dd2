"""Causes: why an activity happened, why a pass is a member."""

from __future__ import annotations

from collections.abc import Mapping

import strawberry

from app.graphql.context import Info
from app.graphql.events.events import Event
from app.graphql.types.enums import ActivityCauseKind
from app.graphql.types.node import fetch_node


@strawberry.type
class ActivityCause:
    """What brought about an activity or a membership."""

    kind: ActivityCauseKind = strawberry.field(description="The kind of cause.")
    segment_version: int | None = strawberry.field(
        description="The version of the segment, where its definition was the cause."
    )
    event_id: strawberry.Private[str | None]

    @strawberry.field
    async def event(self, info: Info) -> Event | None:
        """The event, where one was the cause; absent if it was removed since."""
        if self.event_id is None:
            return None
        found: Event | None = await fetch_node(info.context, "Event", self.event_id)
        return found


def cause_of(cause: Mapping[str, object]) -> ActivityCause | None:
    """A stored cause {kind, event?, version?}; None for none."""
    if "kind" not in cause:
        return None
    event, version = cause.get("event"), cause.get("version")
    return ActivityCause(
        kind=ActivityCauseKind(str(cause["kind"])),
        segment_version=version if isinstance(version, int) else None,
        event_id=None if event is None else str(event),
    )
