"""What a pass could redeem now, and why not the rest: a walk of a copy of the pass by the code of the workers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from app.commands.context import Context
from app.commands.copies import MAX_ATTEMPTS, CopyReader, read_definitions
from app.commands.definitions import bind_latest
from app.domain.errors import NotFound, Unavailable
from app.domain.events.guards import Reason
from app.domain.fold.copies import TooMuchToRead, walk_until
from app.domain.passes.passes import Pass
from app.domain.rewards.decisions import Redeemer, why_not
from app.domain.rewards.parsing import parse_quantity
from app.domain.rewards.redemptions import Redemption, RedemptionStatus
from app.domain.rewards.rewards import LabelledReward, RewardVersion
from app.domain.segments.evaluation import context_of
from app.domain.state.redeemed import Redeemed
from app.domain.values.decimals import ZERO, subtract_exactly
from app.domain.values.instants import to_ms
from app.store.mongo.paging import PageRequest
from app.templates.rendering import LiquidTexts

from .redemptions import RedemptionInput, parse_redemption

MAX_EVALUATED_EVENTS = 20_000
"""Events of a pass that are read for criteria which the pass has not met yet."""
_PAGE = 250


async def validate_redemption(ctx: Context, sent: RedemptionInput) -> Redemption:
    """Return the redemption that redeemReward would make now: SUCCEEDED, or FAILED with its reasons. Writes nothing.

    Raises as `redeem_reward` does.
    """
    _, version, pass_id = await parse_redemption(ctx, sent)
    card = await ctx.workspace.passes.get(pass_id)
    if card is None:
        raise NotFound("pass", "passId")
    quantity = parse_quantity(sent.quantity, version.terms.per_request, "quantity")
    sold_out = await _find_sold_out(ctx, [version], quantity)
    reasons = (await find_reasons(ctx, card, [version], sold_out, quantity=quantity))[version.reward_id]
    cost = version.terms.points_cost * quantity
    return Redemption(
        reward_id=version.reward_id,
        reward_key=version.key,
        quantity=quantity,
        status=RedemptionStatus.FAILED if reasons else RedemptionStatus.SUCCEEDED,
        reasons=reasons,
        points_spent=ZERO if reasons else cost,
        balance_after=card.points if reasons else subtract_exactly(card.points, cost),
    )


@dataclass(frozen=True, slots=True)
class Offers:
    """Rewards that are not archived, the newest first, and the ids of those that are sold out."""

    rewards: Sequence[LabelledReward]
    sold_out: Collection[str]


async def find_offers(ctx: Context) -> Offers:
    """Return what a workspace offers now. Four round trips, one more for each reward that may be sold out."""
    rewards: list[LabelledReward] = []
    after: tuple[Any, ...] | None = None
    while True:
        page = await ctx.workspace.rewards.page(PageRequest(_PAGE, after=after))
        rewards += [each for each in page.items if not each.latest.archived]
        if not page.has_more or not page.items:
            break
        after = (to_ms(page.items[-1].created_at), page.items[-1].id)
    return Offers(rewards, await _find_sold_out(ctx, [each.latest for each in rewards], 1))


async def find_reasons(
    ctx: Context,
    card: Pass,
    versions: Sequence[RewardVersion],
    sold_out: Collection[str],
    *,
    quantity: int = 1,
) -> dict[str, tuple[Reason, ...]]:
    """Return by reward id why the pass cannot redeem `quantity` units now. `sold_out` are the ids without so many units.

    Two round trips if a reward has criteria. For criteria that the pass has not met yet, the events of the pass are read.
    Raises Unavailable.
    """
    now_ms = to_ms(await ctx.now())
    versions = [each for each in await bind_latest(ctx, versions) if isinstance(each, RewardVersion)]
    card = await _walk_to(ctx, card, versions, now_ms)
    context = context_of(card, now_ms)
    return {
        version.reward_id: why_not(
            version,
            Redeemer(context, card.redeemed.get(version.reward_id, Redeemed())),
            quantity,
            cost=version.terms.points_cost * quantity,
            is_sold_out=version.reward_id in sold_out,
        )
        for version in versions
    }


async def _find_sold_out(ctx: Context, versions: Iterable[RewardVersion], quantity: int) -> set[str]:
    """Return the rewards that have fewer units left than `quantity`."""
    totals = {each.reward_id: each.terms.total for each in versions if each.terms.total is not None}
    numbers = await ctx.workspace.stock.next_numbers(totals)
    found = set()
    for key, total in totals.items():
        if numbers.get(key, 1) + quantity - 1 > total:
            taken = await ctx.workspace.stock.count_taken(key, 1, total)
            if taken + quantity > total:
                found.add(key)
    return found


async def _walk_to(ctx: Context, card: Pass, versions: Sequence[RewardVersion], at_ms: int) -> Pass:
    """Return the pass as workers leave it at an instant, with the measures that the criteria read.

    Without criteria it is returned as it is. A pass with more events to read is returned with the measures that it stores.
    """
    if all(each.terms.criteria is None for each in versions):
        return card
    for _ in range(MAX_ATTEMPTS):
        whole = await ctx.workspace.passes.complete(card.id)
        if whole is None:
            return card
        reader, definitions = CopyReader(ctx.workspace), await read_definitions(ctx, [whole])
        walk = walk_until(whole, definitions, max(at_ms, whole.evaluated_until_ms), LiquidTexts())
        try:
            walked = await reader.run(walk, MAX_EVALUATED_EVENTS)
        except TooMuchToRead:
            return whole
        if not reader.has_read or await ctx.workspace.passes.version(whole.id) == whole.version:
            return walked
    raise Unavailable("workers")
