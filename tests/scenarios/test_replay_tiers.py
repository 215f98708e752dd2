"""The sample file with points and a Gold tier: every balance and every change of a tier equal those of an oracle.

One point a dollar, 10 % more for Gold. Gold takes 200 spent in 365 days, and lasts to the end of the next year.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby

import pytest

from app.commands.rules.rules import create_rule
from app.commands.tiers import set_tier_program
from app.domain.activities import TIER_CHANGES, Activity
from app.domain.tiers.programs import TierPeriod
from app.domain.values.instants import parse_instant, to_ms
from app.domain.values.periods import PeriodUnit
from app.store.workspace.activities import ActivityQueries
from tests import sample as test_sample
from tests.business import Business, spent
from tests.crashes import CrashInjector
from tests.domain.tiers.test_evaluation import BERLIN, Change, Level, expected_changes, program_of
from tests.sample import Purchase
from tests.scenarios.test_replay import (
    Work,
    replay,
    run_stages,
    work_always,
    work_with_a_stop,
    work_with_crashes,
)
from workers.worker import Worker

pytestmark = pytest.mark.timeout(900)

END = datetime(2001, 3, 1, tzinfo=UTC)
GOLD = Level("gold", 200, 365)
PROGRAM = program_of(TierPeriod(unit=PeriodUnit.YEAR, plus=1), levels=[GOLD])


async def define(business: Business) -> None:
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


def expected(bought: list[Purchase]) -> tuple[list[Change], int]:
    """Return the changes of the tier and the balance of a customer. A purchase that reaches Gold counts as one of Gold."""
    changes = expected_changes(PROGRAM, [each.oracle_event for each in bought], to_ms(END), [GOLD])
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


async def replay_and_compare(business: Business, rows: list[Purchase], work: Work) -> int:
    """Replay the sample with the given work, compare with the oracle, and return the number of changes of tiers."""
    await define(business)
    await replay(business, rows, work)
    return await compare(business, rows)


async def compare(business: Business, rows: list[Purchase]) -> int:
    """Run the worker to the end, compare tiers and points with the oracle, and return the number of changes of tiers."""
    business.clock.set(END)
    await run_stages(Worker.on(business.ctx.resources), business.ctx.workspace.id)
    feed = await business.read_log(types=tuple(TIER_CHANGES.values()))
    count = 0
    for customer, group in groupby(sorted(rows, key=lambda row: (row.customer, row.at)), key=lambda row: row.customer):
        changes, balance = expected(list(group))
        card = await business.read_pass(customer)
        assert [change_of(each) for each in feed if each.pass_id == card.id] == changes, customer
        assert card.points == balance, customer
        count += len(changes)
    return count


async def test_running_worker_gives_exact_tiers_and_points(business: Business) -> None:
    """Spend gives points and tiers (WH1-18)."""
    assert await replay_and_compare(business, test_sample.purchases(every=40), work_always(business)) > 15


async def test_worker_that_is_stopped_for_months_gives_exact_tiers_and_points(business: Business) -> None:
    assert await replay_and_compare(business, test_sample.purchases(every=40), work_with_a_stop(business)) > 15


async def test_worker_that_crashes_all_the_time_gives_exact_tiers_and_points(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    injector = CrashInjector(seed=7, chance=1 / 30)
    work = work_with_crashes(business, injector)
    with monkeypatch.context() as crashing:
        crashing.setattr(ActivityQueries, "append", injector.with_crashes("append", ActivityQueries.append))
        await define(business)
        await replay(business, rows := test_sample.purchases(every=40), work)
    assert await compare(business, rows) > 15
    assert {"save", "clear", "append", "published"} <= set(injector.crashes)
