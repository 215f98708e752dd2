"""measureRuleConversion: the job that compares conversion for any number of firings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from app.clock import SystemClock
from app.commands.context import Context
from app.domain.jobs import Job, JobKind, JobStatus, Tally, too_many_jobs
from app.domain.values.instants import DAY_MS
from app.store.codecs.jobs import ConversionOrder
from app.store.mongo.ids import ordered_id

from .rules import find_rule


async def measure_conversion(
    ctx: Context,
    rule_id: str,
    *,
    types: Sequence[str],
    within_days: int,
    after: datetime | None,
    before: datetime | None,
) -> Job:
    """Create the job that measures the conversion of a rule in a period; the values were checked.

    A repeated call creates another job. Raises NotFound at `ruleId`, LimitExceeded and Unavailable.
    """
    rule = await find_rule(ctx, rule_id, "ruleId")
    job = Job(
        id=ordered_id("job"),
        kind=JobKind.MEASURE_CONVERSION,
        status=JobStatus.QUEUED,
        tally=Tally(),
        total=0,
        created_at=await SystemClock().now(),
    )
    order = ConversionOrder(rule.id, tuple(types), within_days * DAY_MS, after=after, before=before)
    if not await ctx.workspace.jobs.insert(job, order, ctx.actor.key_id, None):
        raise too_many_jobs()
    ctx.resources.bus.wake("jobs", job.id)
    return job
