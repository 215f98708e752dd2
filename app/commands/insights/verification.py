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
from app.store.mongo.ids import ordered_id


async def verify_projection(ctx: Context, *, pass_ids: Sequence[str] | None, sample: int | None) -> Job:
    """Create the job that compares passes with their events. It changes nothing that it compares.

    `pass_ids` names the passes; `sample` is the number of passes to draw at random. Without both, the job compares all
    passes. A merged pass stands for the one that remains. Raises InvalidInput, NotFound, LimitExceeded, Unavailable. A
    repeated call creates another job.
    """
    order = VerificationOrder(await _choose(ctx, pass_ids, sample))
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


async def _choose(ctx: Context, pass_ids: Sequence[str] | None, sample: int | None) -> tuple[str, ...] | None:
    """Return the ids of the passes to compare; None for all passes."""
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
    if sample is None:
        return None
    if not 1 <= sample <= MAX_VERIFIED_PASSES:
        raise InvalidInput(Code.OUT_OF_RANGE, f"Draw 1 to {MAX_VERIFIED_PASSES:,} passes.", "sample")
    total = await store.count()
    return (
        None
        if sample >= total
        else tuple(await ctx.workspace.pass_draws.ids(secrets.randbelow(MAX_DRAW), sample, total))
    )
