"""Points and a Gold tier for the customers of the sample file, and an oracle of the balances and changes of tiers.

One point a dollar, 10 % more for Gold. Gold takes 200 spent in 365 days, and lasts to the end of the next year.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby

from app.commands.rules.rules import create_rule
from app.commands.tiers import set_tier_program
from app.domain.activities import TIER_CHANGES, Activity
from app.domain.tiers.programs import TierPeriod
from app.domain.values.instants import parse_instant, to_ms
from app.domain.values.periods import PeriodUnit
from tests.business import Business, spent
from tests.domain.tiers.test_evaluation import BERLIN, Change, Level, expected_changes, program_of
from tests.sample import Purchase

GOLD = Level("gold", 200, 365)
PROGRAM = program_of(TierPeriod(unit=PeriodUnit.YEAR, plus=1), levels=[GOLD])


async def define_points_and_tiers(business: Business) -> None:
    """Set the tier program and create both rules."""
    business.clock.set(datetime(1996, 12, 1, tzinfo=UTC))
    tiers = [{"key": "gold", "name": "Gold", "reach": spent(200, days=365)}]
    year = {"calendar": {"unit": "YEAR", "plus": 1}}
    await set_tier_program(business.ctx, {"tiers": tiers, "period": year, "timezone": BERLIN})
    trigger = {"event": {"types": ["purchase"]}}
    per_dollar = {"perAmount": {"points": 1, "each": 1}}
    common: Mapping[str, object] = {"trigger": trigger, "group": "points"}
    await create_rule(business.ctx, {**common, "key": "base", "name": "Base", "effects": [{"awardPoints": per_dollar}]})
    gold = {"conditions": {"pass": {"field": "tier", "value": "gold"}}, "priority": 10}
    more = {"effects": [{"awardPoints": {**per_dollar, "multiplier": "1.1"}}]}
    await create_rule(business.ctx, {**common, **gold, **more, "key": "gold", "name": "Gold"})


def expected(bought: list[Purchase], end: datetime) -> tuple[list[Change], int]:
    """Return the changes of the tier and the balance of a customer. A purchase that reaches Gold counts as one of Gold."""
    changes = expected_changes(PROGRAM, [each.oracle_event for each in bought], to_ms(end), [GOLD])
    balance = 0
    for each in bought:
        at_ms = to_ms(each.at)
        is_gold = ([change.after for change in changes if change.at_ms <= at_ms] or [None])[-1] == "gold"
        dollars = int(Decimal(each.amount))
        balance += dollars * 11 // 10 if is_gold else dollars
    return changes, balance


def change_of(activity: Activity) -> Change:
    before, after = activity.data["before"], activity.data["after"]
    until = None if after is None else to_ms(parse_instant(after["until"]))  # type: ignore[index]
    return Change(
        to_ms(activity.occurred_at),
        str(activity.data["change"]),
        None if before is None else before["key"],  # type: ignore[index]
        None if after is None else after["key"],  # type: ignore[index]
        until,
    )


async def compare_tiers_with_oracle(business: Business, rows: list[Purchase], end: datetime) -> int:
    """Compare tiers and points with the oracle at `end`, and return the number of changes of tiers."""
    feed = await business.read_log(types=tuple(TIER_CHANGES.values()))
    count = 0
    for customer, group in groupby(sorted(rows, key=lambda row: (row.customer, row.at)), key=lambda row: row.customer):
        changes, balance = expected(list(group), end)
        card = await business.read_pass(customer)
        assert [change_of(each) for each in feed if each.pass_id == card.id] == changes, customer
        assert card.points == balance, customer
        count += len(changes)
    return count
