"""Mutations of segments: createSegment, updateSegment, archiveSegment and duplicateSegment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import strawberry

from app.commands import segments as commands
from app.commands.scheduled_edits import schedule_segment_edit
from app.domain.errors import Refused
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.types.ids import given_id
from app.graphql.types.payloads import InputWarning, UserError, user_errors, warnings_of
from app.graphql.types.scalars import RawDateTime

from .criteria import CriteriaInput, to_mapping
from .segments import Segment, segment_of
from .versions import SegmentNotification

WARNINGS = (
    "Remarks about criteria that were accepted and look like a mistake. Examples are an event type that is neither "
    "defined nor recorded, and a value of another kind than the attribute has."
)


@strawberry.input
class CreateSegmentInput:
    """Segment to create."""

    key: str = strawberry.field(
        description="Key of the segment: 1 to 64 lower-case letters, digits, `_` or `-`, beginning with a letter or "
        "digit. It is unique in the workspace and cannot be changed. The key of an archived segment can be used again."
    )
    name: str = strawberry.field(description="Name of the segment for people. At most 255 characters.")
    description: str | None = strawberry.field(
        default=None, description="Purpose of the segment. At most 2,000 characters."
    )
    criteria: CriteriaInput = strawberry.field(description="Criteria that decide which passes belong to the segment.")
    timezone: str | None = strawberry.field(
        default=None,
        description='IANA time zone of `calendar` and `consecutive`, for example "Europe/Berlin". Refused for criteria '
        "without them. Default: the time zone of the workspace, also after it changes.",
    )
    zone_field: str | None = strawberry.field(
        default=None,
        description='Field of a pass that names its own IANA time zone, for example "fields.timezone". Passes whose field '
        "has no such name take `timezone`. Refused for criteria that do not depend on local time.",
    )
    notify: SegmentNotification = strawberry.field(
        default=SegmentNotification.SILENT,
        description="Whether the feed shows the first entries, those of passes that exist already. Default: `SILENT`.",
    )
    visible_to_passes: bool = strawberry.field(
        default=False,
        description="Whether tokens of `createPassToken` see that their pass is in the segment, with its id, key and "
        "name. Default: false.",
    )


@strawberry.input
class UpdateSegmentInput:
    """Changes to a segment. Values that are left out stay as they are."""

    id: strawberry.ID = strawberry.field(description="Id of the segment.")
    name: str | None = strawberry.field(default=None, description="New name for people. At most 255 characters.")
    description: str | None = strawberry.field(default=None, description="New purpose. At most 2,000 characters.")
    criteria: CriteriaInput | None = strawberry.field(
        default=None, description="New criteria. They replace the old ones as a whole."
    )
    timezone: str | None = strawberry.field(
        default=None,
        description="New IANA time zone. Refused for criteria that do not depend on it. With an empty text, the segment has "
        "the time zone of the workspace again, also after it changes.",
    )
    zone_field: str | None = strawberry.field(
        default=None, description="New field that names the time zone of a pass. An empty text removes it."
    )
    notify: SegmentNotification = strawberry.field(
        default=SegmentNotification.SILENT,
        description="Whether the feed shows the entries and exits that this change causes. Default: `SILENT`.",
    )
    fire_rules: bool = strawberry.field(
        default=False,
        description="Whether rules are asked about the entries, exits and changes of the tier that this change itself "
        "causes. Default: false.",
    )
    visible_to_passes: bool | None = strawberry.field(
        default=None,
        description="Whether tokens of `createPassToken` see that their pass is in the segment, with its id, key and "
        "name.",
    )
    scheduled_at: RawDateTime | None = strawberry.field(
        default=None,
        description="Instant of the next 366 days at which a worker makes all changes of this call. Until then, "
        "`Segment.scheduledEdit` has the edit. Another scheduled edit replaces it, and `withdrawSegmentEdit` deletes it. "
        "Default: now.",
    )


@strawberry.input
class ArchiveSegmentInput:
    """Segment to archive."""

    id: strawberry.ID = strawberry.field(description="Id of the segment.")
    notify: SegmentNotification = strawberry.field(
        default=SegmentNotification.SILENT,
        description="Whether the feed shows the exits of its members. Default: `SILENT`.",
    )


@strawberry.input
class DuplicateSegmentInput:
    """Segment to copy."""

    id: strawberry.ID = strawberry.field(description="Id of the segment to copy. It may be archived.")
    key: str = strawberry.field(description="Key of the copy, with the same rules as in `CreateSegmentInput`.")
    name: str | None = strawberry.field(
        default=None, description='Name of the copy for people. Default: the name of the segment with " (copy)".'
    )


@strawberry.type
class CreateSegmentPayload:
    """Result of `createSegment`."""

    segment: Segment | None = strawberry.field(default=None, description="Created segment. Null if the call failed.")
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )
    warnings: list[InputWarning] = strawberry.field(default_factory=list, description=WARNINGS)


@strawberry.type
class UpdateSegmentPayload:
    """Result of `updateSegment`."""

    segment: Segment | None = strawberry.field(default=None, description="Changed segment. Null if the call failed.")
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )
    warnings: list[InputWarning] = strawberry.field(default_factory=list, description=WARNINGS)


@strawberry.type
class ArchiveSegmentPayload:
    """Result of `archiveSegment`."""

    segment: Segment | None = strawberry.field(default=None, description="Archived segment. Null if the call failed.")
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


@strawberry.type
class DuplicateSegmentPayload:
    """Result of `duplicateSegment`."""

    segment: Segment | None = strawberry.field(
        default=None, description="Copy of the segment. Null if the call failed."
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


async def create_segment(
    info: Info, input: Annotated[CreateSegmentInput, strawberry.argument(description="Segment to create.")]
) -> CreateSegmentPayload:
    """Create a segment. Needs the scope `write`.

    Workers evaluate the existing passes; `Segment.backfill` shows their progress. A workspace has at most 200 segments
    that are not archived. Not safe to repeat: if the first call succeeded, a second one fails with `TAKEN`. A retry
    completes a call that was interrupted.
    """
    try:
        created = await commands.create_segment(
            info.context.commands,
            input.key,
            input.name,
            to_mapping(input.criteria),
            input.description,
            input.timezone,
            input.notify.value,
            visible_to_passes=input.visible_to_passes,
            zone_field=input.zone_field,
        )
    except Refused as refused:
        return CreateSegmentPayload(user_errors=user_errors(refused.problems))
    warnings = warnings_of(await commands.warn_about_criteria(info.context.commands, created.criteria))
    return CreateSegmentPayload(segment=segment_of(created), warnings=warnings)


async def update_segment(
    info: Info, input: Annotated[UpdateSegmentInput, strawberry.argument(description="Changes to make.")]
) -> UpdateSegmentPayload:
    """Change the name, description, criteria or time zone of a segment. Needs the scope `write`.

    New criteria or a new time zone make the next version, and workers evaluate all passes again. An archived segment
    cannot be changed. Safe to repeat: a call that changes nothing makes no version.
    """
    criteria = None if input.criteria is None else to_mapping(input.criteria)
    try:
        segment_id = parse_segment_id(input.id)
        if input.scheduled_at is not None:
            return await _schedule(info, segment_id, input, criteria)
        changed = await commands.update_segment(
            info.context.commands,
            segment_id,
            name=input.name,
            description=input.description,
            criteria=criteria,
            timezone=input.timezone,
            notify=input.notify.value,
            fire_rules=input.fire_rules,
            visible_to_passes=input.visible_to_passes,
            zone_field=input.zone_field,
        )
    except Refused as refused:
        return UpdateSegmentPayload(user_errors=user_errors(refused.problems))
    if input.criteria is None:
        return UpdateSegmentPayload(segment=segment_of(changed))
    warnings = warnings_of(await commands.warn_about_criteria(info.context.commands, changed.criteria))
    return UpdateSegmentPayload(segment=segment_of(changed), warnings=warnings)


async def _schedule(
    info: Info, segment_id: str, input: UpdateSegmentInput, criteria: Mapping[str, object] | None
) -> UpdateSegmentPayload:
    segment, edit = await schedule_segment_edit(
        info.context.commands, segment_id, input.scheduled_at,
        criteria=criteria, timezone=input.timezone, zone_field=input.zone_field, name=input.name,
        description=input.description, visible_to_passes=input.visible_to_passes,
        notify=input.notify.value, fire_rules=input.fire_rules,
    )  # fmt: skip
    # A mutation before it in the operation may have read another edit.
    info.context.load.scheduled_edits.clear_all()
    remarks = [] if edit.criteria is None else await commands.warn_about_criteria(info.context.commands, edit.criteria)
    return UpdateSegmentPayload(segment=segment_of(segment), warnings=warnings_of(remarks))


async def archive_segment(
    info: Info, input: Annotated[ArchiveSegmentInput, strawberry.argument(description="Segment to archive.")]
) -> ArchiveSegmentPayload:
    """Archive a segment: its members leave it, and no pass enters it. Needs the scope `write`.

    A segment that other segments refer to cannot be archived. `unarchiveSegment` undoes it. A new segment may
    take its key meanwhile. Safe to repeat.
    """
    try:
        archived = await commands.archive_segment(
            info.context.commands, parse_segment_id(input.id), notify=input.notify.value
        )
    except Refused as refused:
        return ArchiveSegmentPayload(user_errors=user_errors(refused.problems))
    return ArchiveSegmentPayload(segment=segment_of(archived))


async def duplicate_segment(
    info: Info,
    input: Annotated[
        DuplicateSegmentInput, strawberry.argument(description="Segment to copy, with key and name of the copy.")
    ],
) -> DuplicateSegmentPayload:
    """Create a segment with the criteria, description and time zone of another. Needs the scope `write`.

    The first entries are silent. Not safe to repeat: if the first call succeeded, a second one fails with `TAKEN`.
    """
    try:
        copy = await commands.duplicate_segment(
            info.context.commands, parse_segment_id(input.id), input.key, input.name
        )
    except Refused as refused:
        return DuplicateSegmentPayload(user_errors=user_errors(refused.problems))
    return DuplicateSegmentPayload(segment=segment_of(copy))


def parse_segment_id(id: strawberry.ID) -> str:
    """Return the database id of a segment. Raises InvalidInput at `id`."""
    return parse_text(given_id(id, "Segment"), "id")
