"""issueReward: the redemption of a reward that a rule gives to the customer, for no points.

It takes a unit and claims a code as redeemReward does, and records the redemption under the id of the effect. Its walk
decides it by the terms of the reward. If it is declined, the effect is parked with the reasons, and a retry takes the next
id: an id that was declined stays declined.
"""

from __future__ import annotations

from dataclasses import replace

from app.commands.context import Context
from app.commands.events.vocabulary import record_words
from app.domain.actors import Actor
from app.domain.errors import Code, Refused
from app.domain.events.events import REDEMPTION, Category, Event, Origin
from app.domain.events.guards import Guard, RewardGuard
from app.domain.events.own_events import own_event
from app.domain.ids import outward_id, redemption_id, reward_id
from app.domain.reactions.parked import ParkedReaction, Refusal
from app.domain.reactions.reactions import FreeUnits, IssueReward, Reaction
from app.domain.rewards.decisions import NOT_ACTIVE, SOLD_OUT
from app.domain.rewards.rewards import RewardVersion
from app.domain.segments.segments import DefinitionKind
from app.resources import Resources
from app.store.workspace.workspace import Workspace

from .codes import claim_code, free_code
from .stock import free_units, take_units

MAX_ISSUES = 20
"""Ids that the retries of one effect take, one after the other."""


async def issue_reward(
    resources: Resources, workspace: Workspace, reaction: Reaction, body: IssueReward, *, is_retry: bool
) -> Refusal | None:
    """Record the redemption that an effect stands for, or return why not. Safe to repeat.

    Nothing is recorded for an erased pass. Without `is_retry`, a redemption that was declined is made already. Raises
    Unavailable.
    """
    survivors = await workspace.passes.existing([reaction.pass_id])
    pass_id = survivors.get(reaction.pass_id)
    if pass_id is None:
        return None
    identity = await _find_id(workspace, reaction, is_retry=is_retry)
    if identity is None and not is_retry and await _is_stub(workspace, reaction.id):
        # The stage restock has taken the units back from an attempt that took ten minutes to record its event.
        return Refusal(Code.EVENT_REMOVED.value, "The redemption was removed. Retry it with retryRuleFirings.")
    if identity is None:
        # The fold may have lost its wake-up.
        resources.wake_fold(workspace.id, [pass_id])
        return None
    found = await workspace.definitions.latest(DefinitionKind.REWARD, reward_id(workspace.id, body.reward_key))
    if not isinstance(found, RewardVersion) or found.archived:
        return Refusal(NOT_ACTIVE, "The reward is no longer offered.")
    terms, redeemed = found.terms, redemption_id(identity)
    if terms.total is not None and not await take_units(
        workspace.stock, found.reward_id, redeemed, pass_id=pass_id, quantity=1, total=terms.total, may_repeat=True
    ):
        await free_units(workspace.stock, redeemed)
        return Refusal(SOLD_OUT, "All units of the reward are taken.")
    ctx = Context(workspace, Actor(workspace.id, "", "react", scopes=frozenset()), resources, channel="INTERNAL")
    try:
        code = await claim_code(ctx, terms.code_pattern, redeemed, pass_id)
    except Refused as refused:
        await free_units(workspace.stock, redeemed)
        return Refusal(refused.problems[0].code.value, refused.problems[0].message)
    event = await _build(ctx, identity, pass_id, reaction, body)
    event = replace(event, guard=Guard(reward=RewardGuard(found.reward_id, found.key, quantity=1, code=code)))
    await record_words(ctx, [event])
    await workspace.events.insert([(event, b"")])
    resources.wake_fold(workspace.id, [pass_id])
    return None


async def _find_id(workspace: Workspace, reaction: Reaction, *, is_retry: bool) -> str | None:
    """Return the id under which to record the redemption; None if there is nothing to record."""
    for number in range(MAX_ISSUES):
        identity = issued_id(reaction, number)
        stored = (await workspace.events.stored([identity])).get(identity)
        if stored is None:
            return identity
        is_declined = stored.event is None or stored.event.outcome.is_declined
        if not (is_retry and is_declined):
            return None
    return None


async def _is_stub(workspace: Workspace, identity: str) -> bool:
    stored = (await workspace.events.stored([identity])).get(identity)
    return stored is not None and stored.event is None


def issued_id(reaction: Reaction, number: int) -> str:
    """Return the id of the redemption that an attempt records: 0 is the first one, and those that repeat it."""
    return outward_id("event", reaction.id, number) if number else reaction.id


async def give_units_back(workspace: Workspace, reaction: Reaction, body: FreeUnits) -> None:
    """Free the units of a redemption, and the code of a declined one. If a rule gave the reward, note it in the firing.

    Safe to repeat. Raises Unavailable.
    """
    await free_units(workspace.stock, redemption_id(body.redemption_event_id))
    if not body.is_declined:
        return
    event = (await workspace.events.get_many([body.redemption_event_id])).get(body.redemption_event_id)
    if event is None:
        return
    await free_code(workspace, event)
    if event.origin.cause is None or event.origin.effect is None:
        return
    reward = None if event.guard is None else event.guard.reward
    assert reward is not None, "a rule redeems a reward"
    effect = Reaction(
        event_id=event.origin.cause,
        index=event.origin.effect,
        pass_id=event.pass_id,
        activity_id=reaction.activity_id,
        body=IssueReward(reward.key, event.source),
    )
    code, message = next(iter(body.reasons), (NOT_ACTIVE, "The reward was declined."))
    await workspace.reactions.park(
        [ParkedReaction(effect, Refusal(code, message), attempt_count=1, at=event.recorded_at)]
    )


async def _build(ctx: Context, identity: str, pass_id: str, reaction: Reaction, body: IssueReward) -> Event:
    fired = (await ctx.workspace.events.get_many([reaction.event_id])).get(reaction.event_id)
    rule_id = None if fired is None else fired.origin.rule
    origin = Origin("INTERNAL", rule=rule_id, cause=reaction.event_id, effect=reaction.index)
    event = own_event(identity, pass_id, REDEMPTION, at=await ctx.now(), origin=origin, category=Category.ACTIVITY)
    return replace(event, source=body.source)
