"""createSegment, updateSegment, archiveSegment and duplicateSegment at the edge."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.commands import segments as commands
from app.domain.errors import Refused
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.types.ids import given_id
from app.graphql.types.payloads import UserError, user_errors

from .criteria import CriteriaInput, as_sent
from .segments import Segment, SegmentNotification, segment_of


@strawberry.input
class CreateSegmentInput:
    """A new segment."""

    key: str = strawberry.field(description="1 to 64 small letters, digits, `_` and `-`; unique and permanent.")
    name: str = strawberry.field(description="Its name for people.")
    description: str | None = strawberry.field(default=None, description="What it is for.")
    criteria: CriteriaInput = strawberry.field(description="Who belongs to it.")
    timezone: str | None = strawberry.field(default=None, description="IANA; the workspace's, if omitted.")
    notify: SegmentNotification = strawberry.field(
        default=SegmentNotification.SILENT, description="Whether its first filling is told."
    )


@strawberry.input
class UpdateSegmentInput:
    """Changes to a segment; what is omitted stays."""

    id: strawberry.ID = strawberry.field(description="The segment.")
    name: str | None = strawberry.field(default=None, description="Its new name.")
    description: str | None = strawberry.field(default=None, description="What it is for.")
    criteria: CriteriaInput | None = strawberry.field(default=None, description="Who belongs to it from now on.")
    timezone: str | None = strawberry.field(default=None, description="IANA.")
    notify: SegmentNotification = strawberry.field(
        default=SegmentNotification.SILENT, description="Whether entries and exits caused by the change are told."
    )


@strawberry.input
class ArchiveSegmentInput:
    """A segment to put away."""

    id: strawberry.ID = strawberry.field(description="The segment.")
    notify: SegmentNotification = strawberry.field(
        default=SegmentNotification.SILENT, description="Whether the exits of its members are told."
    )


@strawberry.input
class DuplicateSegmentInput:
    """A segment to copy."""

    id: strawberry.ID = strawberry.field(description="The segment to copy.")
    key: str = strawberry.field(description="The key of the copy.")
    name: str | None = strawberry.field(default=None, description="The name of the copy.")


@strawberry.type
class CreateSegmentPayload:
    """The new segment."""

    segment: Segment | None = strawberry.field(default=None, description="The segment; absent if it was refused.")
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


@strawberry.type
class UpdateSegmentPayload:
    """The changed segment."""

    segment: Segment | None = strawberry.field(default=None, description="The segment; absent if it was refused.")
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


@strawberry.type
class ArchiveSegmentPayload:
    """The archived segment."""

    segment: Segment | None = strawberry.field(default=None, description="The segment; absent if it was refused.")
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


@strawberry.type
class DuplicateSegmentPayload:
    """The copy of a segment."""

    segment: Segment | None = strawberry.field(default=None, description="The copy; absent if it was refused.")
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


async def create_segment(
    info: Info, input: Annotated[CreateSegmentInput, strawberry.argument(description="The segment.")]
) -> CreateSegmentPayload:
    """Creates a segment and fills it with the passes that match."""
    try:
        made = await commands.create_segment(
            info.context.commands,
            input.key,
            input.name,
            as_sent(input.criteria),
            input.description,
            input.timezone,
            input.notify.value,
        )
    except Refused as refused:
        return CreateSegmentPayload(user_errors=user_errors(refused.problems))
    return CreateSegmentPayload(segment=segment_of(made))


async def update_segment(
    info: Info, input: Annotated[UpdateSegmentInput, strawberry.argument(description="The changes.")]
) -> UpdateSegmentPayload:
    """Changes a segment. Safe to repeat."""
    try:
        changed = await commands.update_segment(
            info.context.commands,
            _named(input.id),
            name=input.name,
            description=input.description,
            criteria=None if input.criteria is None else as_sent(input.criteria),
            timezone=input.timezone,
            notify=input.notify.value,
        )
    except Refused as refused:
        return UpdateSegmentPayload(user_errors=user_errors(refused.problems))
    return UpdateSegmentPayload(segment=segment_of(changed))


async def archive_segment(
    info: Info, input: Annotated[ArchiveSegmentInput, strawberry.argument(description="The segment.")]
) -> ArchiveSegmentPayload:
    """Puts a segment away: its members leave it. Safe to repeat."""
    try:
        archived = await commands.archive_segment(info.context.commands, _named(input.id), notify=input.notify.value)
    except Refused as refused:
        return ArchiveSegmentPayload(user_errors=user_errors(refused.problems))
    return ArchiveSegmentPayload(segment=segment_of(archived))


async def duplicate_segment(
    info: Info,
    input: Annotated[DuplicateSegmentInput, strawberry.argument(description="What to copy, and how to call it.")],
) -> DuplicateSegmentPayload:
    """Copies a segment under another key."""
    try:
        copy = await commands.duplicate_segment(info.context.commands, _named(input.id), input.key, input.name)
    except Refused as refused:
        return DuplicateSegmentPayload(user_errors=user_errors(refused.problems))
    return DuplicateSegmentPayload(segment=segment_of(copy))


def _named(id: strawberry.ID) -> str:
    return parse_text(given_id(id, "Segment"), "id")
