"""simulateRule: the job that computes what a rule would have done in the past."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from app.clock import SystemClock
from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.domain.errors import Code, InvalidInput
from app.domain.jobs import Job, JobKind, JobStatus, Tally, too_many_jobs
from app.domain.segments.segments import parse_key
from app.domain.values.instants import LATEST, parse_instant, to_ms
from app.store.codecs.jobs import SimulationOrder
from app.store.mongo.ids import ordered_id

from .reading import check_segments, parse_definition
from .rules import find_rule


async def simulate_rule(
    ctx: Context, *, rule: Mapping[str, object] | None, rule_id: str | None, start: object, end: object
) -> Job:
    """Create the job that simulates a rule: the input of createRule, or a stored rule by its id. Writes nothing else.

    The firings from `start` up to `end` (else now) count. Raises Refused and Unavailable. A repeated call creates another
    job.
    """
    if (rule is None) == (rule_id is None):
        raise InvalidInput(Code.INVALID, "Name exactly one of rule and ruleId.", "rule")
    start_ms = to_ms(parse_instant(start, "from"))
    end_ms = to_ms(await ctx.now()) if end is None else to_ms(parse_instant(end, "to"))
    if start_ms >= end_ms:
        raise InvalidInput(Code.OUT_OF_RANGE, "Give a from that is earlier than to.", "from")
    if rule_id is not None:
        version = (await find_rule(ctx, rule_id, "ruleId")).latest
    else:
        assert rule is not None
        key = parse_key(rule.get("key"), "rule", "key")
        version = await parse_definition(ctx, rule, key, "rule")
        version = replace(version, rule_id=f"rule_{key}", key=key, version=1, at=LATEST, first_at=LATEST)
    await check_segments(ctx, version, "rule")
    job = Job(
        id=ordered_id("job"),
        kind=JobKind.SIMULATE_RULE,
        status=JobStatus.QUEUED,
        tally=Tally(),
        total=0,
        created_at=await SystemClock().now(),
    )
    await record_audit_entry(ctx, "simulateRule", "Job", job.id, key=version.key)
    if not await ctx.workspace.jobs.insert(job, SimulationOrder(version, (start_ms, end_ms)), ctx.actor.key_id, None):
        raise too_many_jobs()
    ctx.resources.bus.wake("jobs", job.id)
    return job
