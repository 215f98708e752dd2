"""Mutations revertSegment, unarchiveSegment and withdrawSegmentEdit."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.commands import scheduled_edits
from app.commands import segment_versions as commands
from app.domain.errors import Refused
from app.graphql.context import Info
from app.graphql.types.payloads import UserError, user_errors

from .mutations import parse_segment_id
from .segments import Segment, segment_of
from .versions import SegmentNotification


@strawberry.input
class RevertSegmentInput:
    """Segment, and the version to go back to."""

    id: strawberry.ID = strawberry.field(description="Id of the segment.")
    version: int = strawberry.field(description="Number of the version whose criteria and time zone the segment gets.")
    notify: SegmentNotification = strawberry.field(
        default=SegmentNotification.SILENT,
        description="Whether the feed shows the entries and exits that this change causes. Default: `SILENT`.",
    )


@strawberry.input
class UnarchiveSegmentInput:
    """Archived segment to use again."""

    id: strawberry.ID = strawberry.field(description="Id of the segment.")
    key: str | None = strawberry.field(
        default=None,
        description="New key, with the same rules as in `CreateSegmentInput`. Needed if another segment has taken the key "
        "meanwhile.",
    )
    notify: SegmentNotification = strawberry.field(
        default=SegmentNotification.SILENT,
        description="Whether the feed shows the entries of its members. Default: `SILENT`.",
    )


@strawberry.input
class WithdrawSegmentEditInput:
    """Segment whose scheduled edit is not wanted any more."""

    id: strawberry.ID = strawberry.field(description="Id of the segment.")


@strawberry.type
class WithdrawSegmentEditPayload:
    """Result of `withdrawSegmentEdit`."""

    segment: Segment | None = strawberry.field(
        default=None, description="Segment, without a scheduled edit. Null if the call failed."
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


@strawberry.type
class RevertSegmentPayload:
    """Result of `revertSegment`."""

    segment: Segment | None = strawberry.field(default=None, description="Changed segment. Null if the call failed.")
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


@strawberry.type
class UnarchiveSegmentPayload:
    """Result of `unarchiveSegment`."""

    segment: Segment | None = strawberry.field(
        default=None, description="Segment, in use again. Null if the call failed."
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


async def revert_segment(
    info: Info, input: Annotated[RevertSegmentInput, strawberry.argument(description="Segment and version.")]
) -> RevertSegmentPayload:
    """Go back to the criteria and time zone of an earlier version of a segment. Needs the scope `write`.

    They make the next version, and workers evaluate all passes again. Name and description stay. Criteria that no pass can
    meet any more are refused, such as a tier that is gone. Safe to repeat: a call that changes nothing makes no version.
    """
    try:
        segment = await commands.revert_segment(
            info.context.commands, parse_segment_id(input.id), input.version, notify=input.notify.value
        )
    except Refused as refused:
        return RevertSegmentPayload(user_errors=user_errors(refused.problems))
    return RevertSegmentPayload(segment=segment_of(segment))


async def unarchive_segment(
    info: Info, input: Annotated[UnarchiveSegmentInput, strawberry.argument(description="Segment to use again.")]
) -> UnarchiveSegmentPayload:
    """Use an archived segment again: passes enter and leave it by its latest criteria. Needs the scope `write`.

    Fails with `TAKEN` if another segment has taken its key, and no new key is given. Safe to repeat.
    """
    try:
        segment = await commands.unarchive_segment(
            info.context.commands, parse_segment_id(input.id), key=input.key, notify=input.notify.value
        )
    except Refused as refused:
        return UnarchiveSegmentPayload(user_errors=user_errors(refused.problems))
    return UnarchiveSegmentPayload(segment=segment_of(segment))


async def withdraw_segment_edit(
    info: Info, input: Annotated[WithdrawSegmentEditInput, strawberry.argument(description="Segment.")]
) -> WithdrawSegmentEditPayload:
    """Delete the scheduled edit of a segment. Needs the scope `write`.

    Fails with `CONFLICT` if a worker is just making the edit. Safe to repeat: without a scheduled edit, nothing happens.
    """
    try:
        segment = await scheduled_edits.withdraw_segment_edit(info.context.commands, parse_segment_id(input.id))
    except Refused as refused:
        return WithdrawSegmentEditPayload(user_errors=user_errors(refused.problems))
    # A mutation before it in the operation may have read the edit.
    info.context.load.scheduled_edits.clear_all()
    return WithdrawSegmentEditPayload(segment=segment_of(segment))
