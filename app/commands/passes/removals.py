"""deleteEvents and erasePass. They insert tombstones; the fold removes what these name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import timedelta

from app.clock import SystemClock
from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.domain.errors import Code, Conflict, InvalidInput, NotFound
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import INTERNAL_TYPES, RULE_CHANNEL
from app.domain.events.tombstones import Erasure, Tombstone
from app.domain.jobs import Job, JobKind, JobStatus, Tally, too_many_jobs
from app.domain.passes.passes import Pass
from app.store.codecs.jobs import DeletionOrder
from app.store.mongo.ids import ordered_id

from .erasure import erase_copies

CHANNEL = "BATCH"
Target = tuple[str, str]
"""Event to remove: its pass id and its id."""


async def delete_events(ctx: Context, query: EventQuery, *, dry_run: bool = False) -> tuple[Job | None, int | None]:
    """Create the job that removes the events that match now. With `dry_run`, return their number and create no job.

    Events recorded later stay, and so do internal events and those that rules made. A repeated call creates another
    job, which removes the events
    left. Raises InvalidInput for an empty query. Raises Unavailable.
    """
    # The audit entry names the parts of the filter without their values, which may be personal data.
    parts = " ".join(field.name for field in fields(query) if getattr(query, field.name) not in (None, (), []))
    if not parts:
        advice = "Send at least one part of the filter; an empty filter would remove all events of the workspace."
        raise InvalidInput(Code.REQUIRED, advice, "filter")
    # The bound is exclusive, and events recorded in this millisecond may be stored already.
    now = await ctx.now() + timedelta(milliseconds=1)
    bounded = replace(query, recorded_before=min(now, query.recorded_before or now))
    home_pass_ids = await _find_home_pass_ids(ctx, query.pass_id)
    if dry_run:
        return None, await count_matching_events(ctx, bounded, home_pass_ids)
    job = Job(
        id=ordered_id("job"),
        kind=JobKind.DELETE_EVENTS,
        status=JobStatus.QUEUED,
        tally=Tally(),
        total=0,
        created_at=await SystemClock().now(),
    )
    await record_audit_entry(ctx, "deleteEvents", "Job", job.id, filter=parts)
    if not await ctx.workspace.jobs.insert(job, DeletionOrder(bounded, home_pass_ids), ctx.actor.key_id, None):
        raise too_many_jobs()
    ctx.resources.bus.wake("jobs", job.id)
    return job, None


async def count_matching_events(ctx: Context, query: EventQuery, home_pass_ids: Sequence[str] = ()) -> int:
    """Count the events that would be removed. With `home_pass_ids`, count those on any of these passes.

    Internal events and those that rules made stay.
    """
    events = ctx.workspace.events
    internal = tuple(
        event_type for event_type in sorted(INTERNAL_TYPES) if not query.types or event_type in query.types
    )
    count = 0
    for each in [replace(query, pass_id=pass_id) for pass_id in home_pass_ids] or [query]:
        made = replace(each, channel=RULE_CHANNEL)
        for sign, part in ((1, each), (-1, made)):
            count += sign * await events.count(part)
            count -= sign * await events.count(replace(part, types=internal)) if internal else 0
    return count


async def _find_home_pass_ids(ctx: Context, pass_id: str | None) -> tuple[str, ...]:
    """Return the aliases of a pass, each before the pass it was merged into, and then the pass itself.

    Events may still be stored on an alias if the recording process had not noticed the merge.
    """
    if pass_id is None:
        return ()
    aliases = await ctx.workspace.passes.aliases([pass_id])
    return (*reversed(aliases.get(pass_id, ())), pass_id)


async def remove_events(ctx: Context, targets: Sequence[Target]) -> int:
    """Insert tombstones for at most 1,000 events and return the number of events that this call removes.

    Safe to repeat. In a job, events whose tombstone has the same batch (`ctx.batch`) count again.
    """
    now = await ctx.now()
    hours = await ctx.workspace.removals.target_hours([event_id for _, event_id in targets])
    tombstones = [
        Tombstone(pass_id, event_id, now, target_hour_ms=hours.get(event_id)) for pass_id, event_id in targets
    ]
    existing = await ctx.workspace.removals.insert(tombstones, ctx.origin)
    removed = len(targets) - len(existing)
    if existing and ctx.batch is not None:
        batches = await ctx.workspace.removals.batches([targets[index][1] for index in existing])
        removed += sum(batch == ctx.batch for batch in batches.values())
    ctx.resources.wake_fold(ctx.workspace.id, {pass_id for pass_id, _ in targets})
    return removed


async def erase_pass(
    ctx: Context, *, pass_id: str | None = None, external_id: str | None = None, dry_run: bool = False
) -> Erasure:
    """Request the erasure of a pass, named by one of its ids, and return the progress. Safe to repeat by id.

    With `dry_run`, nothing changes, and the result states what would be erased. Events recorded until the erasure is
    finished are erased, too; then the external id is free. Raises InvalidInput, NotFound, Unavailable, and Conflict for
    a pass that is being merged.
    """
    if (pass_id is None) == (external_id is None):
        raise InvalidInput(Code.INVALID, "Name the pass by exactly one of id and externalId.", "id")
    removals, passes = ctx.workspace.removals, ctx.workspace.passes
    card = await (passes.by_external_id(external_id) if external_id is not None else passes.get(pass_id or ""))
    requested = None if pass_id is None else await removals.erasure(pass_id)
    if card is None:
        if requested is None:
            raise NotFound("pass", "id" if external_id is None else "externalId")
        return requested
    if dry_run:
        return _preview_erasure(card)
    await removals.complete_merge()
    if await removals.merges(card.id):
        raise Conflict("This pass is being merged; repeat in a moment.", "id" if external_id is None else "externalId")
    if requested is None:
        await record_audit_entry(ctx, "erasePass", "Pass", card.id)
    # The erase stage does the same at the end, also for what is stored until then, and for merged passes.
    await erase_copies(ctx.resources, ctx.workspace.id, [card.external_id])
    await passes.close_name(card)
    await removals.insert([Tombstone(card.id, None, await ctx.now())], ctx.origin)
    ctx.resources.cache.forget_pass(ctx.workspace.id, card.id, card.external_id)
    ctx.resources.wake_fold(ctx.workspace.id, [card.id])
    return requested or Erasure(card.id)


def _preview_erasure(card: Pass) -> Erasure:
    aggregates = card.aggregates.values()
    # The erasure adds one activity for each segment that the pass leaves, and a last one, `customer.deleted`.
    activities = card.last_activity + len(card.memberships) + 1
    return Erasure(
        pass_id=card.id,
        erased_at=None,
        events=sum(row.count for row in aggregates),
        aggregates=len(aggregates),
        segments=tuple(card.memberships),
        activities=activities,
    )
