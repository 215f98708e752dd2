"""History of segments: members at an instant, sizes over time, differences, and the stays of a pass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.commands.insights.freshness import find_members_freshness
from app.domain.errors import Code, InvalidInput
from app.domain.segments import sizes
from app.domain.segments.history import Change, Interval, Stay
from app.domain.values.instants import format_instant, parse_instant, to_ms
from app.domain.values.periods import PeriodUnit
from app.graphql.activities.causes import ActivityCause, cause_of
from app.graphql.context import Info
from app.graphql.types.freshness import Freshness, freshness_of
from app.graphql.types.ids import database_id
from app.graphql.types.node import fetch_node
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.graphql.types.scalars import RawDateTime
from app.graphql.types.selections import is_selected

from .memberships import Membership, membership_of_stay

if TYPE_CHECKING:
    from .segments import Segment


@strawberry.type
class MembershipConnection(Connection[Membership]):
    """Page of a list."""

    through: strawberry.Private[Callable[[], Awaitable[datetime]]]
    freshness: Freshness | None = strawberry.field(
        description="How current the memberships are: what waits to be evaluated, and which removals are not finished. Null "
        "for the segments of one pass."
    )

    @strawberry.field
    async def computed_through(self) -> datetime:
        """Instant up to which the history of segments is complete: nothing up to it waits to be evaluated or published.

        Punchcard reads it only if this field is selected, or if `at` is given. Parked passes are left out.
        """
        return await self.through()


def with_progress(
    info: Info, connection: Connection[Membership], freshness: Freshness | None = None
) -> MembershipConnection:
    """Return the page, with the instant up to which the history is complete, and with its freshness if that was read."""
    return MembershipConnection(
        edges=connection.edges,
        page_info=connection.page_info,
        count=connection.count,
        through=lambda: _computed_through(info),
        freshness=freshness,
    )


async def selected_freshness(info: Info) -> Freshness | None:
    """Return the freshness of a page of members that is read after this call; None if it is not selected."""
    if not is_selected(info, "freshness"):
        return None
    return freshness_of(await find_members_freshness(info.context.commands))


async def _computed_through(info: Info) -> datetime:
    async def read() -> datetime:
        return await info.context.workspace.progress.computed_through(await info.context.commands.now())

    return await info.context.read_once(info, ("computed through",), read)


async def _checked_instant(info: Info, raw: object, name: str) -> datetime:
    """Return an instant of the past. Raises InvalidInput: OUT_OF_RANGE if the history is not complete up to it."""
    at, through = parse_instant(raw, name), await _computed_through(info)
    if at > through:
        message = (
            f"The history of segments is complete up to {format_instant(through)}. Give that instant or an "
            "earlier one, or repeat the query later."
        )
        raise InvalidInput(Code.OUT_OF_RANGE, message, name)
    return at


async def members_at(
    info: Info,
    segment_id: str,
    raw_at: object,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> MembershipConnection:
    """Return a page of the members of a segment at an instant."""
    span = stays_listing.span(first, after, last, before)
    at, store = await _checked_instant(info, raw_at, "at"), info.context.workspace.intervals
    freshness = await selected_freshness(info)
    page = await store.members(segment_id, at, span)
    connection = stays_listing.connection(page, span, membership_of_stay, lambda: store.count_members(segment_id, at))
    return with_progress(info, connection, freshness)


@strawberry.type
class SegmentSize:
    """Members of a segment at the end of a period, with the entries and exits in it."""

    at: datetime = strawberry.field(description="Instant at which the period begins, in UTC.")
    count: int = strawberry.field(
        description="Number of members at the end of the period; of a period that has not ended, the number so far. Passes "
        "that were erased since are counted."
    )
    entered: int = strawberry.field(description="Number of entries in the period. A pass may enter more than once.")
    left: int = strawberry.field(description="Number of exits in the period. A pass may leave more than once.")


async def sizes_over_time(
    info: Info, segment_id: str, raw_from: object, raw_to: object, unit: PeriodUnit
) -> list[SegmentSize]:
    """Return the size of a segment in each UTC period."""
    start, end, now = parse_instant(raw_from, "from"), parse_instant(raw_to, "to"), await info.context.commands.now()
    week_start = (await info.context.commands.profile()).week_start
    periods = sizes.periods_between(start, end, unit, now=now, week_start=week_start)
    if not periods:
        return []
    before, days = await info.context.workspace.intervals.days(segment_id, periods[0][0], periods[-1][1])
    found = sizes.sizes_of(periods, before, days)
    return [SegmentSize(at=each.at, count=each.count, entered=each.entered, left=each.left) for each in found]


@strawberry.type
class SegmentDiffCounts:
    """Numbers of passes by what happened to their membership between two instants."""

    entered: int = strawberry.field(description="Number of passes that were in the segment at the end only.")
    left: int = strawberry.field(description="Number of passes that were in the segment at the start only.")
    stayed: int = strawberry.field(
        description="Number of passes that were in the segment at both instants, also if they left meanwhile."
    )


@strawberry.type
class SegmentDiff:
    """Difference between the members of a segment at two instants. Passes that were erased since are left out."""

    segment_id: strawberry.Private[str]
    start: strawberry.Private[datetime]
    end: strawberry.Private[datetime]

    @strawberry.field
    async def counts(self, info: Info) -> SegmentDiffCounts:
        """Numbers of passes. Punchcard counts them only if this field is selected."""
        store = info.context.workspace.intervals
        key = ("diff", self.segment_id, self.start, self.end)
        found = await info.context.read_once(
            info, key, lambda: store.count_changes(self.segment_id, self.start, self.end)
        )
        return SegmentDiffCounts(entered=found.entered, left=found.left, stayed=found.stayed)

    @strawberry.field
    async def entered(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> MembershipConnection:
        """Memberships at the end, of passes that were not in the segment at the start, in the order of the ids of passes."""
        return await self._page(info, Change.ENTERED, first, after, last, before)

    @strawberry.field
    async def left(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> MembershipConnection:
        """Memberships at the start, of passes that were not in the segment at the end, in the order of the ids of passes."""
        return await self._page(info, Change.LEFT, first, after, last, before)

    @strawberry.field
    async def stayed(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> MembershipConnection:
        """Memberships at the end, of passes that were in the segment at the start too, in the order of the ids of passes."""
        return await self._page(info, Change.STAYED, first, after, last, before)

    async def _page(
        self, info: Info, change: Change, first: int | None, after: str | None, last: int | None, before: str | None
    ) -> MembershipConnection:
        span = stays_listing.span(first, after, last, before)
        store = info.context.workspace.intervals

        async def count() -> int:
            counts = await store.count_changes(self.segment_id, self.start, self.end)
            return {Change.ENTERED: counts.entered, Change.LEFT: counts.left, Change.STAYED: counts.stayed}[change]

        page = await store.changes(self.segment_id, change, self.start, self.end, span=span)
        return with_progress(info, stays_listing.connection(page, span, membership_of_stay, count))


async def segment_diff(
    info: Info,
    segment_id: Annotated[strawberry.ID, strawberry.argument(description="Id of the segment.")],
    from_at: Annotated[RawDateTime, strawberry.argument(name="from", description="Earlier instant.")],
    to_at: Annotated[RawDateTime, strawberry.argument(name="to", description="Later instant.")],
) -> SegmentDiff | None:
    """Compare the members of a segment at two instants. Needs the scope `read`.

    Neither may lie after the instant up to which the history is complete. Null if there is no such segment.
    """
    start, end = parse_instant(from_at, "from"), await _checked_instant(info, to_at, "to")
    if end < start:
        raise InvalidInput(Code.INVALID, "`to` must not lie before `from`.", "to")
    found_id = database_id(segment_id, "Segment")
    segment = None if found_id is None else await info.context.load.segments.load(found_id)
    return None if segment is None else SegmentDiff(segment_id=segment.id, start=start, end=end)


@strawberry.type
class MembershipInterval:
    """Stay of a pass in a segment. After a merge, the survivor has the stays of the merged pass, too."""

    from_at: datetime = strawberry.field(name="from", description="Exact instant of the entry.")
    to_at: datetime | None = strawberry.field(name="to", description="Exact instant of the exit. Null while it lasts.")
    enter_cause: ActivityCause | None = strawberry.field(description="Cause of the entry.")
    leave_cause: ActivityCause | None = strawberry.field(description="Cause of the exit. Null while the stay lasts.")
    versions: list[int] = strawberry.field(
        description="Versions of the segment from the entry to the exit; while the stay lasts, to the present version."
    )
    segment_id: strawberry.Private[str]

    @strawberry.field
    async def segment(self, info: Info) -> Annotated[Segment, strawberry.lazy("app.graphql.segments.segments")]:
        """Segment that the pass was in."""
        return await fetch_node(info.context, "Segment", self.segment_id)  # type: ignore[no-any-return]


async def membership_history(
    info: Info,
    pass_id: str,
    segment_id: str | None,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> Connection[MembershipInterval]:
    """Return a page of the stays of a pass in segments, or in one, the newest first."""
    span = intervals_listing.span(first, after, last, before)
    store = info.context.workspace.intervals
    page = await store.of_pass(pass_id, span, segment_id)
    ids = dict.fromkeys(each.segment_id for each in page.items if each.ending is None)
    segments = await info.context.load.segments.load_many(list(ids))
    present = {each.id: each.version for each in segments if each is not None}
    return intervals_listing.connection(
        page,
        span,
        lambda each: _interval_of(each, present.get(each.segment_id)),
        lambda: store.count_of_pass(pass_id, segment_id),
    )


def _interval_of(interval: Interval, present_version: int | None) -> MembershipInterval:
    ending = interval.ending
    return MembershipInterval(
        from_at=interval.entered_at,
        to_at=None if ending is None else ending.at,
        enter_cause=cause_of(interval.cause),
        leave_cause=None if ending is None else cause_of(ending.cause),
        versions=list(interval.versions(present_version)),
        segment_id=interval.segment_id,
    )


stays_listing = Pagination[Stay]("member", (str,), lambda stay: (stay.pass_id,))
intervals_listing = Pagination[Interval]("interval", (int, str), lambda each: (to_ms(each.entered_at), each.id))
