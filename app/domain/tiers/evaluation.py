"""Decisions about the tier of a pass, at one instant: whether it reaches, keeps or loses one.

The walk asks `decide_end` at the end of a period, and `take_over` for a tier that a merge hands over. After each step it
asks `decide`, or `adopt_program` if the program changed. (Source: docs/explanation/tiers.md.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.domain.passes.passes import PassTier
from app.domain.rules.triggers import TierChange
from app.domain.segments.criteria import Criteria
from app.domain.segments.evaluation import EvaluationContext, evaluate

from .programs import Downgrade, Tier, TierProgramVersion


@dataclass(frozen=True, slots=True)
class TierDecision:
    """Change of the tier of a pass, or of the end of its period.

    - `change`: None if only the end of the period changes.
    - `after`: the tier from now on; None for no tier.
    - `criteria`: the criteria that decided, and `holds`: their result. None if no criteria decided.
    """

    change: TierChange | None
    after: PassTier | None
    criteria: Criteria | None = None
    holds: bool = True


def decide_end(
    program: TierProgramVersion | None, present: PassTier, at_ms: int, before: EvaluationContext
) -> TierDecision:
    """Return the decision at the end of a period. `before` is the pass 1 ms earlier.

    A change of the program has replaced a tier that the program does not have. If one is left all the same, it ends.
    """
    rank = None if program is None else program.rank_of(present.key)
    if program is None or rank is None:
        return TierDecision(TierChange.LEFT, None)
    until_ms = program.next_until_ms(at_ms)
    criteria = _kept_by(program.tiers[rank])
    if evaluate(criteria, before):
        return TierDecision(TierChange.PROLONGED, replace(present, until_ms=until_ms), criteria)
    lower = program.tiers[:rank]
    if program.downgrade is Downgrade.ONE_DOWN:
        found = lower[-1] if lower else None
    else:
        found = _highest(lower, before, keeps=True)
    if found is None:
        return TierDecision(TierChange.LEFT, None, criteria, holds=False)
    return TierDecision(TierChange.DOWNGRADED, PassTier(found.key, at_ms, until_ms), criteria, holds=False)


def decide(
    program: TierProgramVersion,
    present: PassTier | None,
    at_ms: int,
    context: EvaluationContext,
    *,
    is_corrected: bool,
) -> TierDecision | None:
    """Return the decision after a step, or None if the tier stays.

    `is_corrected` is true if the step holds a correction or a removal: with REVERSE, the present tier must be reached anew.
    """
    rank = None if present is None else program.rank_of(present.key)
    if present is not None and rank is None:
        return None
    found = _highest(program.tiers[0 if rank is None else rank + 1 :], context)
    if found is not None:
        change = TierChange.JOINED if present is None else TierChange.UPGRADED
        return TierDecision(change, _reach(program, found, at_ms), found.reach)
    if rank is None or not (is_corrected and program.reverses):
        return None
    criteria = program.tiers[rank].reach
    if evaluate(criteria, context):
        return None
    return _fall(program, program.tiers[:rank], at_ms, context, criteria)


def adopt_program(
    program: TierProgramVersion | None,
    previous: TierProgramVersion | None,
    present: PassTier | None,
    at_ms: int,
    context: EvaluationContext,
) -> TierDecision | None:
    """Return the decision when a version of the program comes into force; None if the tier stays.

    A tier that the program still has stays, unless the pass reaches a higher one. Its period ends anew if the program has
    another period or time zone. A tier that is gone gives way to the highest one that the pass reaches.
    """
    if program is None:
        return None if present is None else TierDecision(TierChange.LEFT, None)
    rank = None if present is None else program.rank_of(present.key)
    if present is None or rank is not None:
        found = decide(program, present, at_ms, context, is_corrected=False)
        if found is not None or present is None:
            return found
        if previous is not None and (previous.period, previous.timezone) == (program.period, program.timezone):
            return None
        until_ms = program.reached_until_ms(at_ms)
        return None if until_ms == present.until_ms else TierDecision(None, replace(present, until_ms=until_ms))
    return _fall(program, program.tiers, at_ms, context, None, previous_rank=_rank_in(previous, present.key))


def take_over(
    program: TierProgramVersion | None, present: PassTier | None, other: PassTier, at_ms: int
) -> TierDecision | None:
    """Return the decision about the tier of a merged pass.

    The survivor takes the higher tier, and of equal ones the later end.
    """
    other_rank = None if program is None else program.rank_of(other.key)
    if program is None or other_rank is None:
        return None
    if present is None:
        return TierDecision(TierChange.JOINED, other)
    rank = program.rank_of(present.key)
    if rank is None or rank < other_rank:
        return TierDecision(TierChange.UPGRADED, other)
    if rank == other_rank and _ends_later(other.until_ms, present.until_ms):
        since_ms = min(present.since_ms, other.since_ms)
        return TierDecision(TierChange.PROLONGED, PassTier(present.key, since_ms, other.until_ms))
    return None


def _fall(
    program: TierProgramVersion,
    tiers: Sequence[Tier],
    at_ms: int,
    context: EvaluationContext,
    criteria: Criteria | None,
    *,
    previous_rank: int | None = None,
) -> TierDecision:
    found = _highest(tiers, context)
    if found is None:
        return TierDecision(TierChange.LEFT, None, criteria, holds=False)
    rank = program.rank_of(found.key)
    is_higher = previous_rank is not None and rank is not None and rank > previous_rank
    change = TierChange.UPGRADED if is_higher else TierChange.DOWNGRADED
    return TierDecision(change, _reach(program, found, at_ms), criteria or found.reach, holds=criteria is None)


def _rank_in(program: TierProgramVersion | None, key: str) -> int | None:
    return None if program is None else program.rank_of(key)


def _reach(program: TierProgramVersion, tier: Tier, at_ms: int) -> PassTier:
    return PassTier(tier.key, at_ms, program.reached_until_ms(at_ms))


def _highest(tiers: Sequence[Tier], context: EvaluationContext, *, keeps: bool = False) -> Tier | None:
    """Return the highest of the tiers whose criteria hold: those that reach it or, with `keeps`, those that keep it."""
    return next((tier for tier in reversed(tiers) if evaluate(_kept_by(tier) if keeps else tier.reach, context)), None)


def _kept_by(tier: Tier) -> Criteria:
    return tier.reach if tier.keep is None else tier.keep


def _ends_later(until_ms: int | None, other_ms: int | None) -> bool:
    """Return whether the first end is later than the other one. None never ends."""
    return other_ms is not None and (until_ms is None or until_ms > other_ms)
