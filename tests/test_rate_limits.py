"""Budgets of points: one for all processes, leased from Redis; one for each process while Redis is down."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.domain.actors import token_holder_id
from app.domain.errors import OperationTooLarge, Throttled
from app.rate_limits import WORKSPACE_BUDGET_FACTOR, Budget
from app.resources import open_redis
from tests.patience import PATIENCE_SECONDS
from tests.servers import running_servers

UNIT = 10_000
"""Points that the tests count in. One point comes back in a second, so a slow test gets back less than one unit."""


async def test_spent_points_are_gone_for_every_process_and_after_a_restart(redis: Redis) -> None:
    first = Budget(redis, "test", 1_000 * UNIT, per_second=1)
    assert (await first.spend("ws", "key", 600 * UNIT)).remaining // UNIT == 400
    second = Budget(redis, "test", 1_000 * UNIT, per_second=1)
    with pytest.raises(Throttled) as throttled:
        await second.spend("ws", "key", 500 * UNIT)
    # The first budget holds 10 leased points beyond those that it spent.
    assert 100 * UNIT < throttled.value.retry_after_seconds <= 110 * UNIT
    assert (await second.spend("ws", "key", 300 * UNIT)).remaining < 100 * UNIT
    assert (await second.spend("ws", "other", 900 * UNIT)).remaining // UNIT == 100


async def test_most_operations_need_no_call_to_redis(redis: Redis) -> None:
    budget = Budget(redis, "test", 1_000 * UNIT, per_second=1)
    before = (await redis.info("commandstats")).get("cmdstat_eval", {}).get("calls", 0)
    remaining = [(await budget.spend("ws", "key", UNIT)).remaining for _ in range(50)]
    calls = (await redis.info("commandstats"))["cmdstat_eval"]["calls"] - before
    assert calls <= 5
    assert remaining == sorted(remaining, reverse=True)
    assert remaining[-1] // UNIT == 950


async def test_points_come_back_with_time(redis: Redis) -> None:
    budget = Budget(redis, "test", 1_000, per_second=10_000)
    await budget.spend("ws", "key", 1_000)
    with pytest.raises(Throttled):
        await budget.spend("ws", "key", 1_000)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await budget.spend("ws", "key", 1_000)
                break
            except Throttled as error:
                await asyncio.sleep(error.retry_after_seconds)


async def test_concurrent_calls_never_spend_more_than_the_budget(redis: Redis) -> None:
    budgets = [Budget(redis, "test", 1_000 * UNIT, per_second=1) for _ in range(3)]
    answers = await asyncio.gather(
        *(budgets[i % 3].spend("ws", "key", 10 * UNIT) for i in range(300)), return_exceptions=True
    )  # fmt: skip
    spent = sum(10 for answer in answers if not isinstance(answer, BaseException))
    assert all(isinstance(answer, Throttled) for answer in answers if isinstance(answer, BaseException))
    assert 900 <= spent <= 1_010


@pytest.mark.parametrize("has_redis", [True, False])
async def test_keys_of_one_workspace_share_a_budget(redis: Redis, has_redis: bool) -> None:
    """40 keys were 40 budgets before."""
    reached = redis if has_redis else Redis(port=1)
    budget = Budget(reached, "test", 1_000 * UNIT, per_second=1)
    spent = 0
    throttled: Throttled | None = None
    for number in range(10):
        try:
            await budget.spend("ws", f"key{number}", 900 * UNIT)
            spent += 1
        except Throttled as error:
            throttled = error
    assert spent == WORKSPACE_BUDGET_FACTOR
    assert throttled is not None
    # 360 to 400 points of 4,000 are left, and 4 points come back in a second.
    assert 125 * UNIT <= throttled.retry_after_seconds <= 135 * UNIT
    assert (await budget.spend("other", "key", 900 * UNIT)).remaining <= 101 * UNIT
    assert (await budget.spend("ws", "small", 10 * UNIT)).remaining <= 400 * UNIT
    await reached.aclose()


async def test_tokens_of_one_pass_share_a_tenth_and_leave_the_rest_to_the_workspace(redis: Redis) -> None:
    budget = Budget(redis, "test", 1_000 * UNIT, per_second=10)
    holder, other = token_holder_id("pass_1"), token_holder_id("pass_2")
    allowance = await budget.spend("ws", holder, 90 * UNIT)
    assert (allowance.limit, allowance.remaining // UNIT) == (100 * UNIT, 10)
    with pytest.raises(Throttled):
        await budget.spend("ws", holder, 20 * UNIT)
    with pytest.raises(OperationTooLarge) as too_large:
        await budget.spend("ws", other, 101 * UNIT)
    assert (too_large.value.limit, too_large.value.most) == ("cost", 100 * UNIT)
    assert (await budget.spend("ws", other, 90 * UNIT)).remaining // UNIT == 10
    # Both count towards the budget of the workspace.
    for number in range(3):
        await budget.spend("ws", f"key{number}", 1_000 * UNIT)
    with pytest.raises(Throttled):
        await budget.spend("ws", "key", 850 * UNIT)


async def test_tokens_of_many_passes_leave_one_whole_budget_to_the_keys(redis: Redis) -> None:
    """With 40 passes, one attacker emptied the budget of the workspace before."""
    budget = Budget(redis, "test", 1_000 * UNIT, per_second=1)
    spent = 0
    for number in range(40):
        with contextlib.suppress(Throttled):
            await budget.spend("ws", token_holder_id(f"pass_{number}"), 100 * UNIT)
            spent += 1
    assert spent == 30
    await budget.spend("ws", "key", 1_000 * UNIT)


async def test_points_owed_beyond_a_whole_budget_are_paid_bit_by_bit(redis: Redis) -> None:
    """A budget never holds as many points at once, so the key was throttled for ever before."""
    budget = Budget(redis, "test", 1_000, per_second=100_000)
    for _ in range(5):
        budget.owe("key", 1_000)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await budget.spend("ws", "key", 500)
                break
            except Throttled as error:
                await asyncio.sleep(error.retry_after_seconds)


@pytest.mark.parametrize("has_redis", [True, False])
async def test_what_a_key_owes_is_paid_although_others_spend_of_its_budget(redis: Redis, has_redis: bool) -> None:
    reached = redis if has_redis else Redis(port=1)
    budget = Budget(reached, "test", 1_000 * UNIT, per_second=1)
    await budget.spend("ws", "key", 600 * UNIT)
    budget.owe("key", 1_500 * UNIT)
    for _ in range(2):
        with pytest.raises(Throttled) as throttled:
            await budget.spend("ws", "key", 10 * UNIT)
        # Of 1,510 points, the 400 that were left are paid.
        assert 1_105 * UNIT < throttled.value.retry_after_seconds <= 1_110 * UNIT
    await reached.aclose()


async def test_each_process_has_its_own_budget_without_redis(tmp_path: Path) -> None:
    async with running_servers(tmp_path) as servers:
        redis = open_redis(servers.settings)
        budget = Budget(redis, "test", 1_000 * UNIT, per_second=1)
        await budget.spend("ws", "key", 10 * UNIT)
        await servers.redis.kill()
        assert (await budget.spend("ws", "key", 500 * UNIT)).remaining <= 491 * UNIT
        assert (await budget.spend("ws", "other", 1_000 * UNIT)).remaining <= UNIT
        with pytest.raises(Throttled):
            await budget.spend("ws", "key", 600 * UNIT)
        await redis.aclose()
