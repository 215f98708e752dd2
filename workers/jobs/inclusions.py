"""includeMembers: record an internal event for each member of a rule's segment, so that the walk asks the rule about it.

The id of the event follows from rule and pass. So a repeat of a batch, or of the whole job, asks about no pass twice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta

from app.domain.events.events import RULE_INCLUDED
from app.domain.events.own_events import own_event
from app.domain.ids import inclusion_id
from app.domain.jobs import Tally
from app.domain.passes.passes import Pass
from app.domain.rules.rules import Rule
from app.domain.rules.triggers import SegmentTrigger
from app.domain.segments.segments import DefinitionKind
from app.store.codecs.jobs import InclusionOrder
from app.store.mongo.paging import PageRequest

from .lease import JobLease

INCLUSION_BATCH_SIZE = 500
"""Members that one batch reads."""
UNCREATED_TTL_SECONDS = 600
"""How long a job waits for its rule. A call that takes longer has crashed; its repeat starts another job."""
CHANNEL = "BATCH"


async def run_inclusion(lease: JobLease) -> bool:
    """Record events for one slice of time and return whether all members were read."""
    order = lease.run.order
    assert isinstance(order, InclusionOrder)
    rule = await lease.workspace.rules.get(order.rule_id)
    if rule is None:
        is_late = time.time() - lease.run.created_at.timestamp() > UNCREATED_TTL_SECONDS
        lease.result["asked"] = 0
        return is_late and await lease.commit(None, Tally(), warning="The rule of this job was not created.")
    revision = await lease.workspace.rules.first_revision(rule.id)
    trigger = rule.latest.trigger
    lease.result["asked"] = lease.run.tally.created
    if revision is None or not isinstance(trigger, SegmentTrigger):
        return True
    if lease.run.position is None:
        if not await _is_evaluated(lease, rule, revision):
            # Who was a member at the creation is not certain yet. The next slice looks again.
            return False
        total = await lease.workspace.segments.member_counts([trigger.segment_id])
        if not await lease.commit({"after": None, "over": False}, Tally(), total[trigger.segment_id]):
            return False
    while not lease.run.position["over"] and await lease.can_continue(records=True):
        if not await _include_batch(lease, rule, trigger.segment_id, revision, lease.run.position):
            return False
    lease.result["asked"] = lease.run.tally.created
    return bool(lease.run.position["over"])


async def _is_evaluated(lease: JobLease, rule: Rule, revision: int) -> bool:
    """Return whether all passes were evaluated until the creation of the rule, under the segments of then."""
    earlier = [each for each in await lease.workspace.definitions.summaries() if each.revision < revision]
    announced = max((each.revision for each in earlier if each.kind is not DefinitionKind.RULE), default=0)
    return await lease.workspace.passes.is_evaluated_until(announced, rule.latest.first_at)


async def _include_batch(
    lease: JobLease, rule: Rule, segment_id: str, revision: int, position: Mapping[str, object]
) -> bool:
    """Record the events of the next members, and return whether the position after them is stored."""
    after = position["after"]
    page = await lease.workspace.segments.members(
        segment_id, PageRequest(INCLUSION_BATCH_SIZE, None if after is None else (after,))
    )
    members = [card for card in page.items if _entered_before(card, segment_id, revision)]
    ctx = lease.context(CHANNEL, "inclusion", f"{lease.run.job_id}:{lease.run.step}")
    # A rule is not asked about what happens at the instant of its version.
    at = max(await ctx.now(), rule.latest.first_at + timedelta(milliseconds=1))
    metadata = {"rule": rule.id, "segment": segment_id, "revision": revision}
    events = [
        own_event(inclusion_id(rule.id, card.id), card.id, RULE_INCLUDED, at=at, origin=ctx.origin, metadata=metadata)
        for card in members
    ]
    if events:
        await ctx.workspace.events.insert([(event, b"") for event in events])
        ctx.resources.wake_fold(ctx.workspace.id, {event.pass_id for event in events})
    next_position = {
        "after": page.items[-1].id if page.items else after,
        "over": not page.has_more,
    }
    # Members that entered later were asked about when they entered.
    return await lease.commit(next_position, lease.run.tally.plus(Tally(len(members), len(page.items) - len(members))))


def _entered_before(card: Pass, segment_id: str, revision: int) -> bool:
    member = card.memberships.get(segment_id)
    return member is not None and member.revision < revision
