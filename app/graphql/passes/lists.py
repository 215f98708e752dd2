"""Mutations of the lists of segments: addToSegment and removeFromSegment."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.commands.passes import lists as commands
from app.commands.passes.lists import ListResult
from app.domain.errors import Refused
from app.graphql.context import Info
from app.graphql.types.enums import SegmentList
from app.graphql.types.ids import database_id, given_id
from app.graphql.types.node import fetch_node
from app.graphql.types.payloads import UserError, user_errors

from .passes import Pass


@strawberry.input
class SegmentListInput:
    """Passes to put on a list of a segment, or to take off it: 1 to 1,000 in all."""

    segment_id: strawberry.ID = strawberry.field(description="Id of the segment, which must not be archived.")
    pass_ids: list[strawberry.ID] = strawberry.field(default_factory=list, description="Ids of passes.")
    pass_external_ids: list[str] = strawberry.field(default_factory=list, description="External ids of passes.")
    list_: SegmentList = strawberry.field(
        default=SegmentList.INCLUDE,
        name="list",
        description="List of the segment. A pass is on one of them at most. Default: `INCLUDE`.",
    )


@strawberry.type
class SegmentListResult:
    """Result for one pass."""

    user_errors: list[UserError] = strawberry.field(description="Problems with the pass; empty if it was found.")
    pass_id: strawberry.Private[str | None]

    @strawberry.field(name="pass")
    async def card(self, info: Info) -> Pass | None:
        """Pass, as last evaluated: it enters or leaves the segment a moment later. Null if it was not found."""
        if self.pass_id is None:
            return None
        card: Pass | None = await fetch_node(info.context, "Pass", self.pass_id)
        return card


@strawberry.type
class SegmentListPayload:
    """Result of `addToSegment` or `removeFromSegment`."""

    results: list[SegmentListResult] = strawberry.field(
        default_factory=list,
        description="One result for each pass: those of `passIds`, then those of `passExternalIds`, in order.",
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list,
        description="Problems with the input as a whole; empty if the call succeeded. Those of a pass are in its result.",
    )


async def add_to_segment(
    info: Info, input: Annotated[SegmentListInput, strawberry.argument(description="Passes to put on the list.")]
) -> SegmentListPayload:
    """Put passes on a list of a segment. Needs the scope `write`.

    The lists win over the criteria of the segment. Entries and exits have the cause `MANUAL`. Safe to repeat.
    """
    return await _change(info, input, adds=True)


async def remove_from_segment(
    info: Info, input: Annotated[SegmentListInput, strawberry.argument(description="Passes to take off the list.")]
) -> SegmentListPayload:
    """Take passes off a list of a segment: its criteria decide again. Needs the scope `write`. Safe to repeat."""
    return await _change(info, input, adds=False)


async def _change(info: Info, sent: SegmentListInput, *, adds: bool) -> SegmentListPayload:
    try:
        results = await commands.change_list(
            info.context.commands,
            str(given_id(sent.segment_id, "Segment")),
            [database_id(each, "Pass") for each in sent.pass_ids],
            sent.pass_external_ids,
            sent.list_.value,
            adds=adds,
        )
    except Refused as refused:
        return SegmentListPayload(user_errors=user_errors(refused.problems))
    return SegmentListPayload(results=[_result_of(each) for each in results])


def _result_of(result: ListResult) -> SegmentListResult:
    problems = [] if result.problem is None else [result.problem]
    return SegmentListResult(user_errors=user_errors(problems), pass_id=result.pass_id)
