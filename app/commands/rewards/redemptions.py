"""redeemReward and rollbackRedemption: each records one event, whose outcome the walk decides.

A redemption takes its units and claims its code before the event is recorded. If the process crashes in between, the stage
`restock` frees both. A call with an external id is safe to repeat: it finds the same event, units and code.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from app.commands.context import Context
from app.commands.events import outcomes, pass_lookup
from app.commands.events.consistency import WAIT_TIMEOUT_SECONDS, wait_for_events
from app.commands.events.event_types import event_types
from app.commands.events.outcomes import BatchOutcome, Item, ItemResult
from app.commands.events.receipts import RecordedCall
from app.commands.events.record import build_event, validation_rules
from app.commands.events.vocabulary import record_words
from app.domain.errors import (
    STORE_FAILURES,
    Code,
    InvalidInput,
    NotFound,
    Problem,
    Refused,
    Unavailable,
    refuse_if,
)
from app.domain.events.attributes import Examined
from app.domain.events.events import REDEMPTION, EventInput
from app.domain.events.guards import Guard, Outcome, OutcomeStatus, RewardGuard
from app.domain.events.receipts import RecordStatus
from app.domain.events.validation import Draft, fingerprint, validate_event
from app.domain.ids import event_id, redemption_event_id, redemption_id, reward_id, rollback_event_id
from app.domain.rewards.parsing import parse_quantity
from app.domain.rewards.redemptions import (
    Redemption,
    RedemptionStatus,
    outcome_of,
    redemption_of,
    reward_of,
    rollback_of,
)
from app.domain.rewards.rewards import RewardVersion
from app.domain.segments.segments import DefinitionKind, parse_key
from app.domain.values.instants import to_ms
from app.domain.values.text import parse_optional
from app.store.mongo.ids import ordered_id
from app.store.workspace.workspace import Workspace

from .codes import claim_code, free_code
from .stock import free_units, take_units

MAX_WAIT_SECONDS = int(WAIT_TIMEOUT_SECONDS)
"""Seconds that redeemReward waits at most for the outcome."""


@dataclass(frozen=True, slots=True)
class Redeemed:
    """Result of redeemReward: the redemption, and the call by which the client gets a receipt."""

    redemption: Redemption
    call: RecordedCall | None = None


@dataclass(frozen=True, slots=True)
class RedemptionInput:
    """Unchecked input of redeemReward. None means that the client sent no value."""

    reward_key: object
    pass_id: object = None
    pass_external_id: object = None
    quantity: object = 1
    external_id: object = None
    source: object = None
    metadata: object = None


async def redeem_reward(
    ctx: Context,
    sent: RedemptionInput,
    *,
    wait_seconds: object = MAX_WAIT_SECONDS,
    max_seconds: float | None = None,
) -> Redeemed:
    """Redeem a reward and return its redemption: with the outcome, or PENDING if the wait ended before.

    It waits `wait_seconds`, as the client sent them, and `max_seconds` at most.

    Safe to repeat with an external id: the repeat gets the same redemption. Raises Refused with all problems, NotFound for
    a reward or pass that does not exist, Conflict for an external id that was used for something else, and Unavailable.
    """
    seconds = parse_wait(wait_seconds)
    seconds = seconds if max_seconds is None else min(seconds, max_seconds)
    draft, version, pass_id = await parse_redemption(ctx, sent)
    identity = (
        ordered_id("event")
        if draft.external_id is None
        else event_id(ctx.workspace.id, draft.source, draft.external_id)
    )
    result = await record_redemption(ctx, draft, version, pass_id=pass_id, identity=identity, quantity=sent.quantity)
    refuse_if(result.problems)
    assert result.event is not None
    unfolded = await wait_for_events(ctx, {result.event.id}, max_seconds=seconds) if seconds else {result.event.id}
    redemption = None if unfolded else await find_redemption(ctx, redemption_id(result.event.id))
    if redemption is None and not unfolded:
        refuse_if([outcomes.REMOVED])
    await _free_if_over(ctx, redemption)
    pending = redemption_of(result.event, Outcome(OutcomeStatus.UNDECIDED))
    assert pending is not None
    return Redeemed(redemption or pending, RecordedCall(BatchOutcome([result], result.event.recorded_at)))


async def parse_redemption(ctx: Context, sent: RedemptionInput) -> tuple[Draft, RewardVersion, str]:
    """Return the checked event without its points, the latest version of the reward, and the pass.

    Two round trips at most, side by side: for a pass that is not cached, and for the reward. Raises as `redeem_reward`.
    """
    key = parse_key(sent.reward_key, "rewardKey")
    rules = await validation_rules(ctx)
    what = {"reward": key, "quantity": sent.quantity, "metadata": sent.metadata or {}}
    item = EventInput(
        type=REDEMPTION,
        pass_id=sent.pass_id,
        pass_external_id=sent.pass_external_id,
        external_id=sent.external_id,
        source=sent.source,
        metadata=sent.metadata,
        repeat_metadata=what,
    )
    parse_quantity(sent.quantity, None, "quantity")
    draft = validate_event(item, rules)
    draft, problems = (await event_types(ctx)).check(draft, Examined())
    refuse_if(problems)
    (found, _), version = await asyncio.gather(
        pass_lookup.resolve_passes(ctx, {0: draft}, rules.now, create=False, historical=False), find_version(ctx, key)
    )
    pass_id = found.get(0)
    if pass_id is None:
        raise Refused(pass_lookup.find_problem(draft))
    if version is None:
        raise NotFound("reward", "rewardKey")
    return draft, version, pass_id


async def find_version(ctx: Context, key: str) -> RewardVersion | None:
    """Return the latest version of the reward with this key, archived or not, or None. One round trip."""
    found = await ctx.workspace.definitions.latest(DefinitionKind.REWARD, reward_id(ctx.workspace.id, key))
    return found if isinstance(found, RewardVersion) else None


async def record_redemption(
    ctx: Context, draft: Draft, version: RewardVersion, *, pass_id: str, identity: str, quantity: object
) -> ItemResult:
    """Take units, claim a code and record the event `identity`, and wake the fold. Safe to repeat with the same id.

    If no unit is left, the event is recorded all the same, and the walk declines it: a repeat then gets the same answer.
    Three round trips with a stock, else one; one more for an event that may be a repeat. Raises Refused for a quantity that
    the reward does not allow at once, and Unavailable.
    """
    definition_version = (await event_types(ctx)).version_of(draft.type)
    event = build_event(
        draft, identity, pass_id, now=await ctx.now(), origin=ctx.origin, historical=False,
        definition_version=definition_version, guard=None,
    )  # fmt: skip
    # The clock of this process may be behind that of the process that made the version.
    event = replace(event, occurred_at=max(event.occurred_at, version.at))
    mark = fingerprint(await ctx.secret(), draft, pass_id)
    item = Item(index=0, event=event, fingerprint=mark, draft=draft)
    may_repeat = draft.external_id is not None
    if may_repeat and (stored := await outcomes.find_stored(ctx, [item])):
        # The fold may have lost its wake-up.
        ctx.resources.wake_fold(ctx.workspace.id, {pass_id})
        return outcomes.resolve_outcome(item, stored[0])
    terms, redeemed = version.terms, redemption_id(identity)
    units = parse_quantity(quantity, terms.per_request, "quantity")
    is_sold_out, code = False, None
    if not version.archived:
        has_units, code = await asyncio.gather(
            _take(ctx, version, redeemed, pass_id=pass_id, quantity=units, may_repeat=may_repeat),
            claim_code(ctx, terms.code_pattern, redeemed, pass_id),
        )
        is_sold_out = not has_units
    guard = RewardGuard(version.reward_id, version.key, quantity=units, sold_out=is_sold_out, code=code)
    event = replace(event, points=-(terms.points_cost * units), guard=Guard(reward=guard))
    await record_words(ctx, [event])
    existing = await ctx.workspace.events.insert([(event, mark)])
    ctx.resources.wake_fold(ctx.workspace.id, {pass_id})
    if not existing:
        return ItemResult(0, RecordStatus.CREATED, event)
    stored = await outcomes.find_stored(ctx, [replace(item, event=event)])
    return outcomes.resolve_outcome(item, stored.get(0))


async def _take(
    ctx: Context, version: RewardVersion, redeemed: str, *, pass_id: str, quantity: int, may_repeat: bool
) -> bool:
    if version.terms.total is None:
        return True
    return await take_units(
        ctx.workspace.stock,
        version.reward_id,
        redeemed,
        pass_id=pass_id,
        quantity=quantity,
        total=version.terms.total,
        may_repeat=may_repeat,
    )


async def find_redemption(ctx: Context, redeemed: str) -> Redemption | None:
    """Return a redemption with its outcome, or None. Two round trips; a third if the event is being cleared."""
    return (await find_redemptions(ctx.workspace, [redeemed])).get(redeemed)


async def find_redemptions(workspace: Workspace, redeemed: list[str]) -> Mapping[str, Redemption]:
    """Return by id the redemptions that exist, with their outcomes. Round trips as for `find_redemption`."""
    ids = {each: redemption_event_id(each) for each in redeemed}
    wanted = [*ids.values(), *map(rollback_event_id, redeemed)]
    events = await workspace.events.get_many(wanted)
    undecided = {event.pass_id for event in events.values() if event.outcome.status is OutcomeStatus.UNDECIDED}
    decisions = await workspace.outboxes.decisions(undecided) if undecided else {}
    if undecided:
        # An event that was cleared between the two reads has its outcome now.
        events = await workspace.events.get_many(wanted)
    found: dict[str, Redemption] = {}
    for each, own_id in ids.items():
        event, rollback = events.get(own_id), events.get(rollback_event_id(each))
        if event is not None:
            undone = None if rollback is None else outcome_of(rollback, decisions)
            redemption = redemption_of(event, outcome_of(event, decisions), undone)
            if redemption is not None:
                found[each] = redemption
    return found


async def rollback_redemption(
    ctx: Context, redeemed: str, reason: object = None, *, max_seconds: float = WAIT_TIMEOUT_SECONDS
) -> Redemption:
    """Roll a redemption back, and return it. Safe to repeat. The points come back, and so do the units in stock.

    Raises NotFound for a redemption that does not exist, Conflict if it failed, and Unavailable.
    """
    why = parse_optional(reason, "reason")
    stored = await ctx.workspace.events.get_many([redemption_event_id(redeemed)])
    event = stored.get(redemption_event_id(redeemed))
    if event is None or reward_of(event) is None:
        raise NotFound("redemption", "id")
    rollback = rollback_of(event, at_ms=to_ms(await ctx.now()), origin=ctx.origin, reason=why)
    await record_words(ctx, [rollback])
    await ctx.workspace.events.insert([(rollback, b"")])
    ctx.resources.wake_fold(ctx.workspace.id, {event.pass_id})
    if max_seconds:
        await wait_for_events(ctx, {rollback.id}, max_seconds=max_seconds)
    found = await find_redemption(ctx, redeemed)
    if found is None:
        refuse_if([Problem(Code.EVENT_REMOVED, "The redemption was removed.", ("id",))])
        raise Unavailable("store")
    await _free_if_over(ctx, found)
    return found


async def _free_if_over(ctx: Context, redemption: Redemption | None) -> None:
    """Free the units of a redemption that failed or was rolled back, and the code of one that failed.

    Workers free them, too, if this call cannot.
    """
    if redemption is None or redemption.status in (RedemptionStatus.PENDING, RedemptionStatus.SUCCEEDED):
        return
    with contextlib.suppress(*STORE_FAILURES):
        await free_units(ctx.workspace.stock, redemption.id or "")
        if redemption.status is RedemptionStatus.FAILED and redemption.event is not None:
            await free_code(ctx.workspace, redemption.event)


def parse_wait(raw: object) -> float:
    """Return the seconds to wait, from 0 to 5. Raises InvalidInput."""
    if isinstance(raw, bool) or not isinstance(raw, int | float | Decimal) or not 0 <= raw <= MAX_WAIT_SECONDS:
        raise InvalidInput(Code.OUT_OF_RANGE, f"Give 0 to {MAX_WAIT_SECONDS} seconds.", "waitSeconds")
    return float(raw)
