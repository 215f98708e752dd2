"""Budgets of points: one for all processes, leased from Redis; one for each process while Redis is down."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.domain.errors import Throttled
from app.rate_limits import Budget
from app.resources import open_redis
from tests.servers import running_servers

POINTS_PER_SECOND = 1
"""So few that hardly any points come back while a test runs."""


async def test_spent_points_are_gone_for_every_process_and_after_a_restart(redis: Redis) -> None:
    first = Budget(redis, "test", 1_000, per_second=POINTS_PER_SECOND)
    assert (await first.spend("key", 600)).remaining in (400, 401)
    second = Budget(redis, "test", 1_000, per_second=POINTS_PER_SECOND)
    with pytest.raises(Throttled) as throttled:
        await second.spend("key", 500)
    # The first budget holds 10 leased points beyond those that it spent.
    assert 100 < throttled.value.retry_after_seconds <= 110
    assert (await second.spend("key", 300)).remaining < 100
    assert (await second.spend("other", 900)).remaining in (100, 101)


async def test_most_operations_need_no_call_to_redis(redis: Redis) -> None:
    budget = Budget(redis, "test", 1_000, per_second=POINTS_PER_SECOND)
    before = (await redis.info("commandstats")).get("cmdstat_eval", {}).get("calls", 0)
    remaining = [(await budget.spend("key", 1)).remaining for _ in range(50)]
    calls = (await redis.info("commandstats"))["cmdstat_eval"]["calls"] - before
    assert calls <= 5
    assert remaining == sorted(remaining, reverse=True)
    assert remaining[-1] in (950, 951)


async def test_points_come_back_with_time(redis: Redis) -> None:
    budget = Budget(redis, "test", 1_000, per_second=10_000)
    await budget.spend("key", 1_000)
    with pytest.raises(Throttled):
        await budget.spend("key", 1_000)
    async with asyncio.timeout(5):
        while True:
            try:
                await budget.spend("key", 1_000)
                break
            except Throttled as error:
                await asyncio.sleep(error.retry_after_seconds)


async def test_concurrent_calls_never_spend_more_than_the_budget(redis: Redis) -> None:
    budgets = [Budget(redis, "test", 1_000, per_second=POINTS_PER_SECOND) for _ in range(3)]
    answers = await asyncio.gather(
        *(budgets[i % 3].spend("key", 10) for i in range(300)), return_exceptions=True
    )  # fmt: skip
    spent = sum(10 for answer in answers if not isinstance(answer, BaseException))
    assert all(isinstance(answer, Throttled) for answer in answers if isinstance(answer, BaseException))
    assert 900 <= spent <= 1_010


async def test_each_process_has_its_own_budget_without_redis(tmp_path: Path) -> None:
    async with running_servers(tmp_path) as servers:
        redis = open_redis(servers.settings)
        budget = Budget(redis, "test", 1_000, per_second=POINTS_PER_SECOND)
        await budget.spend("key", 10)
        await servers.redis.kill()
        assert (await budget.spend("key", 500)).remaining <= 491
        assert (await budget.spend("other", 1_000)).remaining <= 1
        with pytest.raises(Throttled):
            await budget.spend("key", 600)
        await redis.aclose()
