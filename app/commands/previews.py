"""Previews of segments: within a request, exact or estimated, and as a job, exact for any size."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from zlib import crc32

from app.clock import SystemClock
from app.commands import preview_runs
from app.domain.errors import Code, InvalidInput, LimitExceeded, NotFound, Unavailable
from app.domain.jobs import Job, JobKind, JobStatus, Tally, too_many_jobs
from app.domain.passes.passes import Pass
from app.domain.preview import PreviewOrder, PreviewTally, sum_tallies
from app.domain.segments.local_time import depends_on_zone
from app.domain.segments.restating import restate
from app.domain.values.estimates import Estimate, estimate_count
from app.domain.values.instants import parse_instant, to_ms
from app.store.mongo.ids import ordered_id
from app.store.mongo.usage import charge

from .audit import record_audit_entry
from .context import Context
from .copies import read_definitions
from .definitions import parse_notify
from .preview_runs import PreviewRun, run_in_chunks, start_run
from .segment_zones import parse_segment_zone, parse_zone_field, zone_of
from .segments import parse_segment_criteria

MAX_PREVIEWED_PASSES = 20_000
"""Passes of a workspace that one request previews exactly."""
MAX_WALKED_PASSES = 500
"""Passes that one request walks for a preview: those that lag, and those that move other definitions."""
MAX_SAMPLE = 100
MAX_ATTEMPTS = 5
"""Attempts to preview a workspace whose definitions change meanwhile."""


@dataclass(frozen=True, slots=True)
class Previewed:
    """The result of a preview: the estimate, the figures, and the ids of up to MAX_SAMPLE members, in random order."""

    order: PreviewOrder
    tally: PreviewTally
    sample: Sequence[str]
    estimate: Estimate


async def parse_order(
    ctx: Context,
    criteria: object,
    timezone: object,
    segment_id: str | None,
    notify: object,
    *,
    fires_rules: bool = False,
    at: object = None,
    zone_field: object = None,
) -> PreviewOrder:
    """Return what to preview, checked. A zone or a field of None is that of the segment.

    Raises Refused, with the path of the criterion at fault.
    """
    tree = restate(await parse_segment_criteria(ctx, criteria))
    at_ms = None if at is None else _parse_at(at, to_ms(await ctx.now()))
    if segment_id is None:
        zone, field = await parse_segment_zone(ctx, timezone), parse_zone_field(zone_field, tree)
    else:
        segment = await ctx.workspace.segments.get(segment_id)
        if segment is None:
            raise NotFound("segment", "segmentId")
        if segment.archived:
            raise InvalidInput(
                Code.INVALID, "This segment is archived. Preview its criteria as a new segment.", "segmentId"
            )
        own_field = segment.zone_field if depends_on_zone(tree) else None
        field = own_field if zone_field is None else parse_zone_field(zone_field, tree)
        zone = await zone_of(ctx, segment) if timezone is None else await parse_segment_zone(ctx, timezone)
    return PreviewOrder(
        tree, zone, segment_id, notify=parse_notify(notify), fires_rules=fires_rules, at_ms=at_ms, zone_field=field
    )


def _parse_at(raw: object, now_ms: int) -> int:
    at_ms = to_ms(parse_instant(raw, "at"))
    if at_ms > now_ms:
        message = "A preview does not look ahead: give an instant of the past, or leave `at` out for now."
        raise InvalidInput(Code.OUT_OF_RANGE, message, "at")
    return at_ms


async def preview_segment(ctx: Context, order: PreviewOrder) -> Previewed:
    """Return the preview of a workspace. Writes nothing; safe to repeat.

    It is exact up to 20,000 passes, 2,000 for an instant of the past, and 100,000 events to be read. Beyond that, it is an
    estimate from up to 2,000 passes that are drawn. Raises LimitExceeded if even a few passes take more events, and
    Unavailable.
    """
    total = await ctx.workspace.passes.count()
    now_ms = to_ms(await ctx.resources.clock.elapsed())
    for _ in range(MAX_ATTEMPTS):
        run = await start_run(ctx.workspace, await read_definitions(ctx, ()), order, now_ms)
        found = await _preview(run, order, total)
        if found is not None:
            return found
    raise Unavailable("workers")


async def _preview(run: PreviewRun, order: PreviewOrder, total: int) -> Previewed | None:
    """Return the preview; None if the run is outdated."""
    drawn: list[Pass] | None = None
    if total > preview_runs.MAX_DRAWN_PASSES and run.may_read_events:
        drawn = await run.find_drawn(total)
    if total <= (MAX_PREVIEWED_PASSES if order.at_ms is None else preview_runs.MAX_DRAWN_PASSES) and (
        # Without draws, the run itself finds out that there are too many events. Then it has read events in vain.
        not drawn or run.most_events(drawn, total) <= preview_runs.MAX_PREVIEWED_EVENTS
    ):
        try:
            await charge(total)
            return await _preview_all(run, order)
        except LimitExceeded:
            run = run.again()
    if drawn is None:
        drawn = await run.draw(total)
    return await _preview_drawn(run, order, drawn, total)


async def _preview_all(run: PreviewRun, order: PreviewOrder) -> Previewed | None:
    tally, sample = PreviewTally(), list[str]()
    async for cards in run.read_all():
        if run.is_outdated(cards):
            return None
        done = await run.add(cards, max_events=preview_runs.MAX_PREVIEWED_EVENTS, max_walked=MAX_WALKED_PASSES)
        tally, sample = sum_tallies([tally, done.tally]), _choose((*sample, *done.member_ids))
    return Previewed(order, tally, sample, estimate=estimate_count(tally.count, 1, 1))


async def _preview_drawn(run: PreviewRun, order: PreviewOrder, drawn: Sequence[Pass], total: int) -> Previewed | None:
    if run.is_outdated(drawn):
        return None
    add = partial(run.add, max_events=preview_runs.MAX_PREVIEWED_EVENTS, max_walked=MAX_WALKED_PASSES)
    done = await run_in_chunks(drawn, add)
    tally = sum_tallies([each.tally for each in done])
    sample = _choose(member_id for each in done for member_id in each.member_ids)
    estimate = estimate_count(tally.count, tally.passes, total)
    return Previewed(order, tally.scaled(total), sample, estimate=estimate)


def _choose(member_ids: Iterable[str]) -> list[str]:
    """Return up to MAX_SAMPLE of the ids: a random choice, the same one each time."""
    return heapq.nsmallest(MAX_SAMPLE, member_ids, key=lambda each: (crc32(each.encode()), each))


async def start_preview(ctx: Context, order: PreviewOrder) -> Job:
    """Create the job that previews any number of passes. Raises Refused and Unavailable. A repeat creates another job."""
    await start_run(ctx.workspace, await read_definitions(ctx, ()), order, to_ms(await ctx.now()))
    job = Job(
        id=ordered_id("job"),
        kind=JobKind.PREVIEW_SEGMENT,
        status=JobStatus.QUEUED,
        tally=Tally(),
        total=0,
        created_at=await SystemClock().now(),
    )
    await record_audit_entry(ctx, "previewSegment", "Job", job.id)
    if not await ctx.workspace.jobs.insert(job, order, ctx.actor.key_id, None):
        raise too_many_jobs()
    ctx.resources.bus.wake("jobs", job.id)
    return job
