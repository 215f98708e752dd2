"""Why a pass cannot redeem a reward: one code for the walk, for a call that only validates, and for what a till shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from zoneinfo import ZoneInfo

from app.domain.events.guards import Reason
from app.domain.passes.passes import ACTIVE
from app.domain.rules.rules import PerPassLimit
from app.domain.segments.evaluation import EvaluationContext, evaluate
from app.domain.state.redeemed import Redeemed
from app.domain.values.decimals import canonical
from app.domain.values.instants import format_instant, from_ms
from app.domain.values.periods import period_start_ms
from app.domain.values.windows import within_dict

from .rewards import Reward, RewardVersion

INSUFFICIENT_POINTS = "INSUFFICIENT_POINTS"
NOT_IN_SEGMENT = "NOT_IN_SEGMENT"
LIMIT_PER_PASS = "LIMIT_PER_PASS"
SOLD_OUT = "SOLD_OUT"
NOT_ACTIVE = "NOT_ACTIVE"
PASS_NOT_ACTIVE = "PASS_NOT_ACTIVE"
_PERIODS = {"DAY": "day", "WEEK": "week", "MONTH": "month", "QUARTER": "quarter", "YEAR": "year"}


@dataclass(frozen=True, slots=True)
class Redeemer:
    """Pass that redeems: what its evaluation depends on, and the units that it has redeemed of the reward so far."""

    context: EvaluationContext
    redeemed: Redeemed = field(default_factory=Redeemed)


def why_not(
    reward: RewardVersion | None, redeemer: Redeemer, quantity: int, *, cost: Decimal, is_sold_out: bool = False
) -> tuple[Reason, ...]:
    """Return all reasons why the pass cannot redeem `quantity` units at the instant of its context; none if it can.

    `reward` is the version in force, None if the reward is archived. `cost` are the points of all units together.
    """
    return tuple(_iter_reasons(reward, redeemer, quantity, cost=cost, is_sold_out=is_sold_out))


def _iter_reasons(
    reward: RewardVersion | None, redeemer: Redeemer, quantity: int, *, cost: Decimal, is_sold_out: bool
) -> Iterator[Reason]:
    context = redeemer.context
    if context.profile.status != ACTIVE:
        yield Reason(PASS_NOT_ACTIVE, f"The card is not active: its status is {context.profile.status}.")
    if reward is None or not reward.is_in_force:
        yield Reason(NOT_ACTIVE, "The reward is no longer offered.")
        return
    terms = reward.terms
    if terms.active_from_ms is not None and context.at_ms < terms.active_from_ms:
        yield Reason(NOT_ACTIVE, f"The reward can be redeemed from {format_instant(from_ms(terms.active_from_ms))} on.")
    if terms.active_to_ms is not None and context.at_ms >= terms.active_to_ms:
        yield Reason(NOT_ACTIVE, f"The reward could be redeemed until {format_instant(from_ms(terms.active_to_ms))}.")
    if terms.criteria is not None and not evaluate(terms.criteria, context):
        yield Reason(NOT_IN_SEGMENT, "The reward is not for this customer: the card does not match its criteria.")
    if terms.per_pass is not None and (reason := _find_excess(terms, terms.per_pass, redeemer, quantity)) is not None:
        yield reason
    if cost > 0 and context.points < cost:
        message = f"The pass has {canonical(context.points)} points; {canonical(cost)} are needed."
        yield Reason(INSUFFICIENT_POINTS, message)
    if is_sold_out:
        yield Reason(SOLD_OUT, "The reward is sold out.")


def _find_excess(terms: Reward, limit: PerPassLimit, redeemer: Redeemer, quantity: int) -> Reason | None:
    """Return the reason if the units would exceed the limit for one pass."""
    at_ms, redeemed = redeemer.context.at_ms, redeemer.redeemed
    if limit.within_ms is not None:
        used, period = redeemed.count_after(at_ms - limit.within_ms), f" in {_duration(limit.within_ms)}"
    elif limit.calendar is not None:
        start_ms = period_start_ms(limit.calendar, ZoneInfo(terms.timezone), at_ms)
        used, period = redeemed.count_after(start_ms - 1), f" in a {_PERIODS[limit.calendar.value]}"
    else:
        used, period = redeemed.total, ""
    if used + quantity <= limit.count:
        return None
    return Reason(
        LIMIT_PER_PASS, f"The card may redeem this reward {limit.count:,} times{period}; it has {used:,} times."
    )


def _duration(ms: int) -> str:
    [(unit, amount)] = within_dict(ms).items()
    return f"{amount:,} {unit}"
