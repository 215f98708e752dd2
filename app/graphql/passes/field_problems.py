"""Fields of a pass that an event could not change."""

from __future__ import annotations

import strawberry

from app.domain.passes.passes import MAX_PROFILE_BYTES, Profile
from app.graphql.context import Info
from app.graphql.events.events import Event
from app.graphql.types.node import fetch_node


@strawberry.type
class FieldProblem:
    """Field that an event could not change, so that it kept its value.

    Either the field held no number when an event should have increased or decreased it, or the pass would have become too
    large.
    """

    field: str = strawberry.field(description="Name of the field.")
    message: str = strawberry.field(
        description="What happened and what to do about it, for people. The text may change between versions."
    )
    event_id: strawberry.Private[str]

    @strawberry.field
    async def event(self, info: Info) -> Event | None:
        """Last event that could not change the field. Null if the event was removed since, or is not found."""
        found: Event | None = await fetch_node(info.context, "Event", self.event_id)
        return found


def field_problems_of(profile: Profile) -> list[FieldProblem]:
    """Return the problems of a profile, sorted by field."""
    return [
        FieldProblem(
            field=name,
            message=f"An event could not change the field '{name}'. Either the field held no number that a step could be "
            f"added to, or the pass would have more than {MAX_PROFILE_BYTES // 1_024} KB. Set the field with updatePass.",
            event_id=event_id,
        )
        for name, event_id in sorted(profile.problems.items())
    ]
