"""Previews of segments: the query segmentPreview and the mutation previewSegment."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.commands import previews as commands
from app.commands.explanations import Draft, Explained, explain
from app.commands.previews import MAX_SAMPLE, Previewed
from app.commands.segment_sizes import MAX_DAYS, DaySize, size_by_day
from app.commands.segments import warn_about_criteria
from app.domain.errors import Code, InvalidInput, Refused
from app.domain.preview import PreviewOrder
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.jobs.jobs import Job, job_of
from app.graphql.types.ids import given_id
from app.graphql.types.node import fetch_node
from app.graphql.types.payloads import InputWarning, UserError, user_errors, warnings_of
from app.graphql.types.scalars import RawDateTime

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
    zone_field: str | None = strawberry.field(
        default=None,
        description="Field of a pass that names its own IANA time zone. With an empty text: none. Default: that of the "
        "segment, or none for a new segment.",
    )
    segment_id: strawberry.ID | None = strawberry.field(
        default=None, description="Id of the segment that the edit is about. Default: a new segment."
    )
    notify: SegmentNotification = strawberry.field(
        default=SegmentNotification.SILENT,
        description="Whether the feed would show the entries and exits; `deliveries` depends on it. Default: `SILENT`.",
    )
    fire_rules: bool = strawberry.field(
        default=False,
        description="Whether rules would be asked about the entries and exits; `firings` depends on it. Default: false.",
    )
    at: RawDateTime | None = strawberry.field(
        default=None,
        description="Instant of the past at which the members are counted, by the events that occurred until then. "
        "Members of now are compared with them, and nothing is caused. Default: now.",
    )


@strawberry.type
class SegmentEstimate:
    """Number of passes that would be in a segment."""

    count: int = strawberry.field(description="Number of passes.")
    low: int = strawberry.field(description="Lower end of the 95 % interval of the number; `count` if it is exact.")
    high: int = strawberry.field(description="Upper end of the 95 % interval of the number; `count` if it is exact.")
    exact: bool = strawberry.field(
        description="Whether the number is exact, or an estimate from passes that were drawn at random."
    )


@strawberry.type
class SegmentDaySize:
    """Number of passes that would have been in a segment at the end of a day."""

    day: str = strawberry.field(description="Day in the time zone of the preview, such as `2026-01-31`.")
    count: int = strawberry.field(description="Number of passes at the end of the day; now, on the last day.")
    low: int = strawberry.field(description="Lower end of the 95 % interval of the number; `count` if it is exact.")
    high: int = strawberry.field(description="Upper end of the 95 % interval of the number; `count` if it is exact.")
    exact: bool = strawberry.field(
        description="Whether the number is exact, or an estimate from passes that were drawn at random."
    )


@strawberry.type
class PreviewedMember:
    """Pass that would be in a segment."""

    pass_id: strawberry.Private[str]
    draft: strawberry.Private[Draft]

    @strawberry.field(name="pass")
    async def card(self, info: Info) -> Annotated[Pass, strawberry.lazy("app.graphql.passes.passes")] | None:
        """Pass. Null if it was erased meanwhile."""
        return await fetch_node(info.context, "Pass", self.pass_id)  # type: ignore[no-any-return]

    @strawberry.field
    async def explanation(self, info: Info) -> MembershipExplanation | None:
        """Why the pass meets the criteria. The lists of a segment are left out. Null if the pass was erased meanwhile."""
        context, draft = info.context, self.draft

        async def read() -> Explained | None:
            return await explain(context.commands, self.pass_id, draft)

        found = await context.read_once(info, ("previewed", self.pass_id, repr(draft)), read)
        return None if found is None else explanation_of(found)


SampleArgument = Annotated[
    int, strawberry.argument(description=f"Number of passes to return: 0 to {MAX_SAMPLE}. Default: 10.")
]


DaysArgument = Annotated[
    int, strawberry.argument(description=f"Number of days, today included: 1 to {MAX_DAYS}. Default: 30.")
]


@strawberry.type
class SegmentPreview:
    """Who would be in a segment now, and what saving it would cause. Nothing is written.

    If `estimate.exact` is false, the other figures are estimates, too.
    """

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
        draft = Draft(order.criteria, order.timezone, order.zone_field)
        return [PreviewedMember(pass_id=each, draft=draft) for each in self.previewed.sample[:first]]

    @strawberry.field
    async def size_by_day(self, info: Info, days: DaysArgument = 30) -> list[SegmentDaySize]:
        """Size that the segment would have had at the end of each of the last days, the earliest first.

        Every event counts when it occurred. Exact for up to 2,000 passes with up to 100,000 events. Beyond that, passes
        are drawn at random.
        """
        if not 1 <= days <= MAX_DAYS:
            raise InvalidInput(Code.OUT_OF_RANGE, f"`days` must be between 1 and {MAX_DAYS}.", "days")
        order = self.previewed.order

        async def read() -> list[DaySize]:
            return await size_by_day(info.context.commands, order, days)

        found = await info.context.read_once(info, ("sizes", days, repr(order)), read)
        return [SegmentDaySize(day=each.day.isoformat(), **asdict(each.size)) for each in found]


async def segment_preview(
    info: Info, input: Annotated[SegmentPreviewInput, strawberry.argument(description="Criteria to preview.")]
) -> SegmentPreview:
    """Preview a new segment, or an edit of a segment. Nothing is written. Needs the scope `read`.

    The figures are exact for up to 20,000 passes, or 2,000 with `at`, and up to 100,000 events to be read. Events are read
    only with `at`, or if the passes do not store what the criteria measure. Beyond that, they are estimates from up to
    2,000 passes that are drawn at random; `previewSegment` counts all. Fails with `LIMIT` if a few passes take more events.
    """
    context = info.context.commands
    previewed = await commands.preview_segment(context, await _parse(info, input))
    tally = previewed.tally
    return SegmentPreview(
        estimate=SegmentEstimate(**asdict(previewed.estimate)),
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
        info.context.commands, to_mapping(sent.criteria), sent.timezone, segment_id, sent.notify.value,
        fires_rules=sent.fire_rules, at=sent.at, zone_field=sent.zone_field,
    )  # fmt: skip


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
