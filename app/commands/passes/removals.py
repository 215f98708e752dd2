"""deleteEvents and erasePass: tombstones are inserted, and the fold does the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import timedelta

from app.clock import SystemClock
from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.domain.errors import Code, Conflict, InvalidInput, NotFound
from app.domain.events.events import INTERNAL_TYPES, EventQuery
from app.domain.events.tombstones import Erasure, Tombstone
from app.domain.ids import slot_of
from app.domain.jobs import Job, JobKind, JobStatus, Tally
from app.domain.passes.passes import Pass
from app.flow import range_of
from app.store.codecs.jobs import DeletionOrder
from app.store.mongo.ids import ordered_id

CHANNEL = "BATCH"
Target = tuple[str, str]
"""An event to remove: the pass it is of, and its id."""


async def delete_events(ctx: Context, query: EventQuery, *, dry_run: bool = False) -> tuple[Job | None, int | None]:
    """The job that will remove what matches now; with `dry_run` none, but how many events that is.

    What is recorded later is left alone, and so is what Punchcard recorded itself. Repeating it makes another job, which
    removes what is left. Raises InvalidInput for a query without any part, Unavailable.
    """
    # Which parts are named, and not what they say: that may be personal.
    parts = " ".join(field.name for field in fields(query) if getattr(query, field.name) not in (None, (), []))
    if not parts:
        advice = "Name at least one part of the filter: without any, all events of the workspace would be removed."
        raise InvalidInput(Code.REQUIRED, advice, "filter")
    # The next millisecond: of this one some may be recorded already.
    now = await ctx.now() + timedelta(milliseconds=1)
    bounded = replace(query, recorded_before=min(now, query.recorded_before or now))
    homes = await _homes(ctx, query.pass_id)
    if dry_run:
        return None, await matching_events(ctx, bounded, homes)
    job = Job(ordered_id("job"), JobKind.DELETE_EVENTS, JobStatus.QUEUED, Tally(), 0, await SystemClock().now())
    await record_audit_entry(ctx, "deleteEvents", "Job", job.id, filter=parts)
    await ctx.workspace.jobs.insert(job, DeletionOrder(bounded, homes), ctx.actor.key_id, None)
    ctx.resources.bus.wake("jobs", job.id)
    return job, None


async def matching_events(ctx: Context, query: EventQuery, homes: Sequence[str] = ()) -> int:
    """How many events would be removed; of a pass, those on any of its `homes`."""
    events = ctx.workspace.events
    internal = tuple(kind for kind in sorted(INTERNAL_TYPES) if not query.types or kind in query.types)
    found = 0
    for each in [replace(query, pass_id=home) for home in homes] or [query]:
        found += await events.count(each) - (await events.count(replace(each, types=internal)) if internal else 0)
    return found


async def _homes(ctx: Context, pass_id: str | None) -> tuple[str, ...]:
    """The passes that this one answers for, each before the one it became a part of, and itself: what was recorded on them
    by who had not heard of the merge may be there still.
    """
    if pass_id is None:
        return ()
    aliases = await ctx.workspace.passes.aliases([pass_id])
    return (*reversed(aliases.get(pass_id, ())), pass_id)


async def remove_events(ctx: Context, targets: Sequence[Target]) -> int:
    """How many of at most 1,000 events are removed by this call, for good.

    Safe to repeat: in a job (`ctx.batch`), what the same batch removed before is counted again.
    """
    now = await ctx.now()
    tombstones = [Tombstone(pass_id, event_id, now) for pass_id, event_id in targets]
    taken = await ctx.workspace.removals.insert(tombstones, ctx.origin)
    removed = len(targets) - len(taken)
    if taken and ctx.batch is not None:
        batches = await ctx.workspace.removals.batches([targets[place][1] for place in taken])
        removed += sum(batch == ctx.batch for batch in batches.values())
    ctx.resources.bus.wake("fold", *{range_of(slot_of(pass_id)) for pass_id, _ in targets})
    return removed


async def erase_pass(
    ctx: Context, *, pass_id: str | None = None, external_id: str | None = None, dry_run: bool = False
) -> Erasure:
    """How far the erasure of a pass is, which is asked for by this unless it was before; named by one of its two ids.

    With `dry_run` nothing is done, and what would be is told. Safe to repeat by id. What is still recorded on the pass until
    the erasure is done goes with it; then its external id is free for another. Raises InvalidInput, NotFound, Unavailable.
    """
    if (pass_id is None) == (external_id is None):
        raise InvalidInput(Code.INVALID, "Name the pass by exactly one of id and externalId.", "id")
    removals, passes = ctx.workspace.removals, ctx.workspace.passes
    card = await (passes.by_external_id(external_id) if external_id is not None else passes.get(pass_id or ""))
    asked = None if pass_id is None else await removals.erasure(pass_id)
    if card is None:
        if asked is None:
            raise NotFound("pass", "id" if external_id is None else "externalId")
        return asked
    if dry_run:
        return _foreseen(card)
    if await removals.merges(card.id):
        raise Conflict("This pass is being merged; repeat in a moment.", "id" if external_id is None else "externalId")
    if asked is None:
        await record_audit_entry(ctx, "erasePass", "Pass", card.id)
    # What a sender told of the pass and could not be recorded, and what lies in files: first, so that a death in between
    # leaves none of it.
    await ctx.workspace.inbound.forget(card.external_id)
    await ctx.workspace.exports.forget(card.external_id)
    await removals.insert([Tombstone(card.id, None, await ctx.now())], ctx.origin)
    ctx.resources.cache.forget_pass(ctx.workspace.id, card.id, card.external_id)
    ctx.resources.bus.wake("fold", range_of(slot_of(card.id)))
    return asked or Erasure(card.id)


def _foreseen(card: Pass) -> Erasure:
    rows = card.aggregates.values()
    # A line for leaving each segment, and the last one, come on top.
    activities = card.last_activity + len(card.memberships) + 1
    return Erasure(card.id, None, sum(row.count for row in rows), len(rows), tuple(card.memberships), activities)
