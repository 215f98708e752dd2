"""Previews of segments: within a request for small workspaces, and as a job for any size."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

from app.clock import SystemClock
from app.domain.activities import Entry
from app.domain.activity_queries import ActivityQuery
from app.domain.definitions import Definitions
from app.domain.errors import Code, InvalidInput, LimitExceeded, NotFound, Unavailable
from app.domain.events.events import Event
from app.domain.explanation.explaining import DRAFT_ID
from app.domain.fold.copies import TooMuchToRead, walk_step, walk_until
from app.domain.jobs import Job, JobKind, JobStatus, Tally, too_many_jobs
from app.domain.passes.passes import Pass
from app.domain.preview import Preview, PreviewOrder, PreviewTally, sum_tallies
from app.domain.segments.restating import restate
from app.domain.segments.segments import Circle, Version
from app.domain.values.instants import from_ms, to_ms
from app.domain.webhooks.endpoints import MAX_ENDPOINTS, EndpointStatus
from app.store.mongo.ids import ordered_id
from app.store.mongo.paging import Page, PageRequest
from app.store.workspace.workspace import Workspace
from app.templates.rendering import LiquidTexts

from .audit import record_audit_entry
from .context import Context
from .copies import CopyReader, read_definitions
from .definitions import name_circle, parse_notify
from .segments import parse_segment_criteria, parse_segment_zone

MAX_PREVIEWED_PASSES = 20_000
"""Passes of a workspace that one request previews."""
MAX_PREVIEWED_EVENTS = 100_000
"""Events that one request reads for a preview."""
MAX_WALKED_PASSES = 500
"""Passes that one request walks for a preview: those that lag, and those that move other definitions."""
MAX_SAMPLE = 100
MAX_ATTEMPTS = 5
"""Attempts to preview a workspace whose definitions change meanwhile."""
EVENTS_PER_WALK = 20_000
"""Events of one pass that a preview reads for its walk."""


@dataclass(frozen=True, slots=True)
class Previewed:
    """The result of a preview: the figures, and the ids of up to MAX_SAMPLE members, in random order."""

    order: PreviewOrder
    tally: PreviewTally
    sample: Sequence[str]


async def parse_order(
    ctx: Context, criteria: object, timezone: object, segment_id: str | None, notify: object
) -> PreviewOrder:
    """Return what to preview, checked. Raises Refused, with the path of the criterion at fault."""
    tree = restate(await parse_segment_criteria(ctx, criteria))
    if segment_id is None:
        return PreviewOrder(tree, await parse_segment_zone(ctx, timezone), None, notify=parse_notify(notify))
    segment = await ctx.workspace.segments.get(segment_id)
    if segment is None:
        raise NotFound("segment", "segmentId")
    if segment.archived:
        raise InvalidInput(
            Code.INVALID, "This segment is archived. Preview its criteria as a new segment.", "segmentId"
        )
    zone = segment.timezone if timezone is None else await parse_segment_zone(ctx, timezone)
    return PreviewOrder(tree, zone, segment_id, notify=parse_notify(notify))


async def preview_segment(ctx: Context, order: PreviewOrder) -> Previewed:
    """Return the exact preview of a workspace with up to 20,000 passes. Writes nothing; safe to repeat.

    Raises LimitExceeded for more passes, or more events to be read, and Unavailable.
    """
    total = await ctx.workspace.passes.count()
    if total > MAX_PREVIEWED_PASSES:
        raise _too_large(f"The workspace has {total:,} passes.")
    at_ms = to_ms(await ctx.resources.clock.elapsed())
    for _ in range(MAX_ATTEMPTS):
        run = await start_run(ctx.workspace, await read_definitions(ctx, ()), order, at_ms)
        tally, sample = PreviewTally(), list[tuple[int, str]]()
        async for cards in run.read_all():
            if run.is_outdated(cards):
                break
            done = await run.add(cards, max_events=MAX_PREVIEWED_EVENTS, max_walked=MAX_WALKED_PASSES)
            tally = sum_tallies([tally, done.tally])
            sample = heapq.nsmallest(MAX_SAMPLE, [*sample, *((crc32(each.encode()), each) for each in done.member_ids)])
        else:
            return Previewed(order, tally, [pass_id for _, pass_id in sample])
    raise Unavailable("workers")


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


@dataclass(frozen=True, slots=True)
class PagePreview:
    """The figures of some passes, and the ids of those that would be members."""

    tally: PreviewTally
    member_ids: Sequence[str]


class PreviewRun:
    """A preview that goes through the passes of a workspace, some at a time."""

    def __init__(self, workspace: Workspace, preview: Preview) -> None:
        self._workspace, self._preview = workspace, preview
        self._texts = LiquidTexts()
        self._events_read = self._walked = 0

    async def read(self, span: PageRequest) -> Page[Pass]:
        """Return a page of passes, the newest first, with what this preview reads of them."""
        preview = self._preview
        return await self._workspace.passes.evaluable(span, preview.measure_keys, is_counted=preview.may_build_measures)

    def read_all(self) -> AsyncIterator[list[Pass]]:
        """Iterate over all passes, in parts, with what this preview reads of them."""
        preview = self._preview
        return self._workspace.passes.all_evaluable(preview.measure_keys, is_counted=preview.may_build_measures)

    def is_outdated(self, cards: Sequence[Pass]) -> bool:
        """Return whether a pass was evaluated under definitions that the run does not have.

        Then begin another run.
        """
        return any(card.revision > self._preview.definitions.revision for card in cards)

    async def add(
        self, cards: Sequence[Pass], *, max_events: int | None = None, max_walked: int | None = None
    ) -> PagePreview:
        """Preview some passes. Raises LimitExceeded if the run has then read more events, or walked more passes."""
        preview = self._preview
        behind = [card for card in cards if preview.is_behind(card)]
        current = [card for card in cards if not preview.is_behind(card)]
        for card in behind:
            self._count_walk(max_walked)
            walked = await self._catch_up(card)
            if walked is not None:
                current.append(walked)
        reading = [card for card in current if preview.needs_history(card)]
        self._events_read += sum(card.event_count for card in reading)
        if max_events is not None and self._events_read > max_events:
            raise _too_large(f"The preview takes more than {max_events:,} events.")
        histories = await self._workspace.counted_events.histories(reading)
        moves = await asyncio.to_thread(self._find_moves, current, histories)
        tallies, members = list[PreviewTally](), list[str]()
        for card, (was_member, is_member) in zip(current, moves, strict=True):
            entries = None
            if preview.is_referenced and was_member != is_member:
                self._count_walk(max_walked)
                entries = await self._walk(card)
            tallies.append(preview.tally(card, was_member, is_member, entries))
            if is_member:
                members.append(card.id)
        return PagePreview(sum_tallies(tallies), members)

    def _find_moves(self, cards: Sequence[Pass], histories: Mapping[str, Sequence[Event]]) -> list[tuple[bool, bool]]:
        return [self._preview.find_move(card, histories.get(card.id)) for card in cards]

    def _count_walk(self, max_walked: int | None) -> None:
        self._walked += 1
        if max_walked is not None and self._walked > max_walked:
            raise _too_large(f"The preview has to walk more than {max_walked:,} passes one by one.")

    async def _catch_up(self, card: Pass) -> Pass | None:
        """Return the pass as a worker will leave it; None if it is gone."""
        preview, found = self._preview, await self._workspace.passes.complete(card.id)
        if found is None or found.id != card.id:
            return None
        at_ms = max(preview.at_ms, found.evaluated_until_ms)
        walk = walk_until(found, preview.definitions, at_ms, self._texts)
        try:
            return await CopyReader(self._workspace).run(walk, EVENTS_PER_WALK)
        except TooMuchToRead:
            raise Unavailable("workers") from None

    async def _walk(self, card: Pass) -> Sequence[Entry]:
        """Return what a walk of a copy adds to the outbox under the edit."""
        preview, found = self._preview, await self._catch_up(card) or card
        at_ms = max(preview.at_ms, found.evaluated_until_ms)
        walk = walk_step(found, preview.definitions_after, at_ms, self._texts)
        try:
            after = await CopyReader(self._workspace).run(walk, EVENTS_PER_WALK)
        except TooMuchToRead:
            raise Unavailable("workers") from None
        return after.outbox[len(found.outbox) :]


async def start_run(workspace: Workspace, definitions: Definitions, order: PreviewOrder, at_ms: int) -> PreviewRun:
    """Return the run of a preview. Raises NotFound and InvalidInput for criteria that name wrong segments."""
    segment_id = order.segment_id or DRAFT_ID
    before = definitions.latest().get(segment_id)
    version = Version(
        segment_id=segment_id,
        revision=definitions.revision + 1,
        version=1 if before is None else before.version + 1,
        criteria=order.criteria,
        timezone=order.timezone,
        archived=False,
        notify=order.notify,
        at=from_ms(at_ms),
    )
    endpoints = (await workspace.webhooks.page(PageRequest(MAX_ENDPOINTS))).items
    filters: list[ActivityQuery] = [each.filter for each in endpoints if each.status is EndpointStatus.ENABLED]
    try:
        preview = Preview(definitions, version, at_ms, filters=filters)
    except Circle as circle:
        raise await name_circle(workspace.segments, circle) from None
    return PreviewRun(workspace, preview)


def _too_large(reason: str) -> LimitExceeded:
    return LimitExceeded(f"{reason} Call previewSegment instead, a job that previews any number.", "criteria")
