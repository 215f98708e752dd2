"""verifyProjection: the job that compares stored results with the events."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from app.clock import SystemClock
from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.domain.errors import Code, InvalidInput, NotFound
from app.domain.ids import MAX_DRAW
from app.domain.insights.verification import MAX_VERIFIED_PASSES, VerificationOrder
from app.domain.jobs import Job, JobKind, JobStatus, Tally, too_many_jobs
from app.domain.values.instants import parse_instant, to_ms
from app.store.mongo.ids import ordered_id


async def verify_projection(
    ctx: Context,
    *,
    pass_ids: Sequence[str] | None = None,
    sample: int | None = None,
    rollups: tuple[object, object] | None = None,
) -> Job:
    """Create the job that compares passes and rollups with the events. It changes nothing that it compares.

    `pass_ids` names passes, and `sample` is the number of passes to draw at random. `rollups` names the instants between
    which rollups are compared, with None for the first and the last event. Without all three, the job compares everything.
    A merged pass stands for the one that remains. Raises InvalidInput, NotFound, LimitExceeded, Unavailable. A repeated
    call creates another job.
    """
    period = None if rollups is None else _parse_period(rollups)
    if pass_ids is not None or sample is not None:
        order = VerificationOrder(await _choose(ctx, pass_ids, sample), period)
    elif period is not None:
        order = VerificationOrder((), period)
    else:
        order = VerificationOrder(None, (None, None))
    job = Job(
        id=ordered_id("job"),
        kind=JobKind.VERIFY_PROJECTION,
        status=JobStatus.QUEUED,
        tally=Tally(),
        total=0,
        created_at=await SystemClock().now(),
    )
    await record_audit_entry(ctx, "verifyProjection", "Job", job.id)
    if not await ctx.workspace.jobs.insert(job, order, ctx.actor.key_id, None):
        raise too_many_jobs()
    ctx.resources.bus.wake("jobs", job.id)
    return job


def _parse_period(rollups: tuple[object, object]) -> tuple[int | None, int | None]:
    start, end = (
        None if raw is None else to_ms(parse_instant(raw, "rollups", name))
        for name, raw in zip(("from", "to"), rollups, strict=True)
    )
    if start is not None and end is not None and start >= end:
        raise InvalidInput(Code.OUT_OF_RANGE, "Give a from that is earlier than to.", "rollups", "from")
    return start, end


async def _choose(ctx: Context, pass_ids: Sequence[str] | None, sample: int | None) -> tuple[str, ...] | None:
    """Return the ids of the passes to compare; None for all passes. One of the two arguments is given."""
    store = ctx.workspace.passes
    if pass_ids is not None:
        if sample is not None:
            raise InvalidInput(Code.INVALID, "Name passIds or sample, not both.", "sample")
        if not 1 <= len(pass_ids) <= MAX_VERIFIED_PASSES:
            raise InvalidInput(Code.OUT_OF_RANGE, f"Name 1 to {MAX_VERIFIED_PASSES:,} passes.", "passIds")
        found = await store.get_many(pass_ids)
        if missing := [number for number, each in enumerate(pass_ids) if each not in found]:
            raise NotFound("pass", "passIds", str(missing[0]))
        return tuple(dict.fromkeys(found[each].id for each in pass_ids))
    if sample is None or not 1 <= sample <= MAX_VERIFIED_PASSES:
        raise InvalidInput(Code.OUT_OF_RANGE, f"Draw 1 to {MAX_VERIFIED_PASSES:,} passes.", "sample")
    total = await store.count()
    return (
        None
        if sample >= total
        else tuple(await ctx.workspace.pass_draws.ids(secrets.randbelow(MAX_DRAW), sample, total))
    )
