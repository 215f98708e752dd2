"""includeMembers of createRule: the job that asks a new rule about the members of its segment."""

from __future__ import annotations

from app.clock import SystemClock
from app.commands.context import Context
from app.domain.errors import Code, Problem, refuse_if
from app.domain.jobs import Job, JobKind, JobStatus, Tally, too_many_jobs
from app.domain.rules.rules import RuleStatus, RuleVersion
from app.domain.rules.triggers import SegmentTrigger
from app.store.codecs.jobs import InclusionOrder
from app.store.mongo.ids import ordered_id


def check_includes_members(version: RuleVersion) -> None:
    """Raise Refused unless the rule waits for entries into a segment, and is ACTIVE."""
    if not (isinstance(version.trigger, SegmentTrigger) and version.trigger.entered):
        message = "Only a rule on segmentEntered has members to include; leave it out."
        refuse_if([Problem(Code.UNSUPPORTED, message, ("includeMembers",))])
    if version.status is not RuleStatus.ACTIVE:
        message = "Punchcard asks a paused rule about no pass; create it ACTIVE, or leave includeMembers out."
        refuse_if([Problem(Code.UNSUPPORTED, message, ("includeMembers",))])


async def start_inclusion(ctx: Context, rule_id: str) -> Job:
    """Insert the job of a rule that is about to be created. The job waits for the rule.

    So a crash between the two leaves no rule without its job. A repeated call creates another job, which asks about no pass
    twice. Raises LimitExceeded and Unavailable.
    """
    job = Job(
        id=ordered_id("job"),
        kind=JobKind.INCLUDE_MEMBERS,
        status=JobStatus.QUEUED,
        tally=Tally(),
        total=0,
        created_at=await SystemClock().now(),
    )
    if not await ctx.workspace.jobs.insert(job, InclusionOrder(rule_id), ctx.actor.key_id, None):
        raise too_many_jobs("includeMembers")
    return job
