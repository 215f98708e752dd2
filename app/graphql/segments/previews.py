"""Previews of segments: the query segmentPreview and the mutation previewSegment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import strawberry

from app.commands import previews as commands
from app.commands.explanations import Draft, Explained, explain
from app.commands.previews import MAX_SAMPLE, Previewed
from app.commands.segments import warn_about_criteria
from app.domain.errors import Code, InvalidInput, Refused
from app.domain.preview import PreviewOrder
from app.domain.segments.criteria import Criteria
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.jobs.jobs import Job, job_of
from app.graphql.types.ids import given_id
from app.graphql.types.node import fetch_node
from app.graphql.types.payloads import InputWarning, UserError, user_errors, warnings_of

from .criteria import CriteriaInput, to_mapping
from .explanations import MembershipExplanation, explanation_of
from .mutations import WARNINGS
from .versions import SegmentNotification

if TYPE_CHECKING:
    from app.graphql.passes.passes import Pass


@strawberry.input
class SegmentPreviewInput:
    """Criteria to preview: those of a new segment, or of an edit of a segment."""

    criteria: CriteriaInput = strawberry.field(description="Criteria to preview.")
    timezone: str | None = strawberry.field(
        default=None, description="IANA time zone. Default: that of the segment, or of the workspace for a new segment."
    )
    segment_id: strawberry.ID | None = strawberry.field(
        default=None, description="Id of the segment that the edit is about. Default: a new segment."
    )
    notify: SegmentNotification = strawberry.field(
        default=SegmentNotification.SILENT,
        description="Whether the feed would show the entries and exits; `deliveries` depends on it. Default: `SILENT`.",
    )


@strawberry.type
class SegmentEstimate:
    """Number of passes that would be in a segment."""

    count: int = strawberry.field(description="Number of passes.")
    low: int = strawberry.field(description="Lower end of the 95 % interval of the number; `count` if it is exact.")
    high: int = strawberry.field(description="Upper end of the 95 % interval of the number; `count` if it is exact.")
    exact: bool = strawberry.field(description="Whether the number is exact. It always is today.")


@strawberry.type
class PreviewedMember:
    """Pass that would be in a segment."""

    pass_id: strawberry.Private[str]
    criteria: strawberry.Private[Criteria]
    timezone: strawberry.Private[str]

    @strawberry.field(name="pass")
    async def card(self, info: Info) -> Annotated[Pass, strawberry.lazy("app.graphql.passes.passes")] | None:
        """Pass. Null if it was erased meanwhile."""
        return await fetch_node(info.context, "Pass", self.pass_id)  # type: ignore[no-any-return]

    @strawberry.field
    async def explanation(self, info: Info) -> MembershipExplanation | None:
        """Why the pass meets the criteria. The lists of a segment are left out. Null if the pass was erased meanwhile."""
        context, draft = info.context, Draft(self.criteria, self.timezone)

        async def read() -> Explained | None:
            return await explain(context.commands, self.pass_id, draft)

        found = await context.read_once(info, ("previewed", self.pass_id, repr(draft)), read)
        return None if found is None else explanation_of(found)


SampleArgument = Annotated[
    int, strawberry.argument(description=f"Number of passes to return: 0 to {MAX_SAMPLE}. Default: 10.")
]


@strawberry.type
class SegmentPreview:
    """Who would be in a segment now, and what saving it would cause. Nothing is written."""

    estimate: SegmentEstimate = strawberry.field(description="Number of passes that would be in the segment.")
    entering: int = strawberry.field(description="Number of passes that would enter the segment.")
    leaving: int = strawberry.field(description="Number of members of now that would leave the segment.")
    staying: int = strawberry.field(description="Number of members of now that would stay in the segment.")
    activities: int = strawberry.field(
        description="Number of activities that saving would cause at once, silent ones included: entries, exits, and what "
        "follows from them in other segments, tiers and rules."
    )
    deliveries: int = strawberry.field(
        description="Number of messages with these activities to the webhook endpoints that are enabled."
    )
    firings: int = strawberry.field(description="Number of firings of rules that saving would cause at once.")
    warnings: list[InputWarning] = strawberry.field(description=WARNINGS)
    previewed: strawberry.Private[Previewed]

    @strawberry.field
    def sample(self, first: SampleArgument = 10) -> list[PreviewedMember]:
        """Passes that would be in the segment: a random choice, the same one in each preview."""
        if not 0 <= first <= MAX_SAMPLE:
            raise InvalidInput(Code.OUT_OF_RANGE, f"`first` must be between 0 and {MAX_SAMPLE}.", "first")
        order = self.previewed.order
        return [
            PreviewedMember(pass_id=each, criteria=order.criteria, timezone=order.timezone)
            for each in self.previewed.sample[:first]
        ]


async def segment_preview(
    info: Info, input: Annotated[SegmentPreviewInput, strawberry.argument(description="Criteria to preview.")]
) -> SegmentPreview:
    """Preview a new segment, or an edit of a segment. Nothing is written. Needs the scope `read`.

    The figures are exact, for up to 20,000 passes and up to 100,000 events to be read. Events are read only if the passes
    do not store what the criteria measure. Beyond that, the query fails with `LIMIT`: call `previewSegment`.
    """
    context = info.context.commands
    previewed = await commands.preview_segment(context, await _parse(info, input))
    tally = previewed.tally
    return SegmentPreview(
        estimate=SegmentEstimate(count=tally.count, low=tally.count, high=tally.count, exact=True),
        entering=tally.entering,
        leaving=tally.leaving,
        staying=tally.staying,
        activities=tally.activities,
        deliveries=tally.deliveries,
        firings=tally.firings,
        warnings=warnings_of(await warn_about_criteria(context, previewed.order.criteria)),
        previewed=previewed,
    )


async def _parse(info: Info, sent: SegmentPreviewInput) -> PreviewOrder:
    segment_id = None if sent.segment_id is None else parse_text(given_id(sent.segment_id, "Segment"), "segmentId")
    return await commands.parse_order(
        info.context.commands, to_mapping(sent.criteria), sent.timezone, segment_id, sent.notify.value
    )


@strawberry.type
class PreviewSegmentPayload:
    """Result of `previewSegment`."""

    job: Job | None = strawberry.field(default=None, description="Job that previews. Null if the call failed.")
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


async def preview_segment(
    info: Info, input: Annotated[SegmentPreviewInput, strawberry.argument(description="Criteria to preview.")]
) -> PreviewSegmentPayload:
    """Preview a segment in a job, for any number of passes. Nothing else is written. Needs the scope `write`.

    The job's `result` has the figures `passes`, `count`, `entering`, `leaving`, `staying`, `activities`, `deliveries` and
    `firings`: see `SegmentPreview`. Passes that are created meanwhile are left out. Not safe to repeat: each call starts a
    job.
    """
    try:
        job = await commands.start_preview(info.context.commands, await _parse(info, input))
    except Refused as refused:
        return PreviewSegmentPayload(user_errors=user_errors(refused.problems))
    return PreviewSegmentPayload(job=job_of(job))
