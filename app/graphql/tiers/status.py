"""The tier of a pass, and its progress towards the next one."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import strawberry

from app.commands.definitions import bind_latest
from app.domain.passes.passes import Pass
from app.domain.segments.evaluation import context_of
from app.domain.segments.segments import TIER_PROGRAM
from app.domain.tiers.programs import Tier, TierProgramVersion
from app.domain.tiers.progress import find_remaining, next_tier
from app.domain.values.instants import from_ms, to_ms
from app.graphql.context import RequestContext


@strawberry.type
class TierRemaining:
    """Criterion of the next tier that the pass does not meet yet."""

    measure: str = strawberry.field(
        description='What the criterion measures, for example "SUM amount of purchase in EUR within 365 days" or '
        '"pointsBalance".'
    )
    needed: Decimal | None = strawberry.field(
        description="How much more it takes. Null for a criterion that no larger number meets."
    )


@strawberry.type
class TierProgress:
    """What a pass lacks for the next tier."""

    next_tier: str = strawberry.field(description="Key of the next higher tier.")
    remaining: list[TierRemaining] = strawberry.field(
        description="Criteria of the next tier that do not hold yet, from left to right. Of alternatives, all are named. "
        "Criteria below a `not` are left out."
    )


@strawberry.type
class PassTier:
    """Tier of a pass and its progress. A pass without a tier has only `progress`."""

    key: str | None = strawberry.field(description="Key of the tier. Null if the pass has none.")
    name: str | None = strawberry.field(
        description="Name of the tier for people. Null if the pass has none, or if the program does not have it any more."
    )
    since: datetime | None = strawberry.field(description="Instant since when the pass has the tier. Null without one.")
    until: datetime | None = strawberry.field(
        description="First instant after the period: the tier is decided again then. Null if it has no end."
    )
    progress: TierProgress | None = strawberry.field(
        description="What the pass lacks for the next tier. Null in the highest one."
    )


async def find_pass_tier(context: RequestContext, card: Pass) -> PassTier | None:
    """Return the tier of a pass; None if the workspace has no tier program. `card` has its measures."""
    program = await context.load.tier_programs.load(TIER_PROGRAM)
    if program is None or not program.tiers:
        return None
    tier = card.tier
    named = None if tier is None else program.rank_of(tier.key)
    return PassTier(
        key=None if tier is None else tier.key,
        name=None if named is None else program.tiers[named].name,
        since=None if tier is None else from_ms(tier.since_ms),
        until=None if tier is None or tier.until_ms is None else from_ms(tier.until_ms),
        progress=await _find_progress(context, card, program),
    )


async def _find_progress(context: RequestContext, card: Pass, program: TierProgramVersion) -> TierProgress | None:
    [bound] = await bind_latest(context.commands, [program])
    assert isinstance(bound, TierProgramVersion)
    tier: Tier | None = next_tier(bound, card.tier_key)
    if tier is None:
        return None
    measures = await context.load.measures.load(card.id) or {}
    now = context_of(replace(card, measures=measures), to_ms(await context.commands.now()))
    remaining = [TierRemaining(measure=each.measure, needed=each.needed) for each in find_remaining(tier, now)]
    return TierProgress(next_tier=tier.key, remaining=remaining)
