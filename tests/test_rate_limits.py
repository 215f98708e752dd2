"""Budgets: leased from Redis, one for all processes, kept here while Redis is away."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.domain.errors import Throttled
from app.rate_limits import Budget
from app.resources import open_redis
from tests.servers import running_servers

SLOWLY = 1
"""Points a second: next to nothing comes back while a test runs."""


async def test_what_is_spent_is_gone_for_every_process_and_after_a_restart(redis: Redis) -> None:
    first = Budget(redis, "test", 1_000, SLOWLY)
    assert (await first.spend("key", 600)).remaining in (400, 401)
    again = Budget(redis, "test", 1_000, SLOWLY)
    with pytest.raises(Throttled) as throttled:
        await again.spend("key", 500)
    # 10 were leased to the first beyond what it spent.
    assert 100 < throttled.value.retry_after_seconds <= 110
    assert (await again.spend("key", 300)).remaining < 100
    assert (await again.spend("other", 900)).remaining in (100, 101)


async def test_most_operations_ask_nobody(redis: Redis) -> None:
    budget = Budget(redis, "test", 1_000, SLOWLY)
    before = (await redis.info("commandstats")).get("cmdstat_eval", {}).get("calls", 0)
    left = [(await budget.spend("key", 1)).remaining for _ in range(50)]
    asked = (await redis.info("commandstats"))["cmdstat_eval"]["calls"] - before
    assert asked <= 5
    assert left == sorted(left, reverse=True)
    assert left[-1] in (950, 951)


async def test_points_come_back(redis: Redis) -> None:
    budget = Budget(redis, "test", 1_000, 10_000)
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


async def test_many_at_once_never_spend_more_than_there_is(redis: Redis) -> None:
    budgets = [Budget(redis, "test", 1_000, SLOWLY) for _ in range(3)]
    answers = await asyncio.gather(
        *(budgets[i % 3].spend("key", 10) for i in range(300)), return_exceptions=True
    )  # fmt: skip
    spent = sum(10 for answer in answers if not isinstance(answer, BaseException))
    assert all(isinstance(answer, Throttled) for answer in answers if isinstance(answer, BaseException))
    assert 900 <= spent <= 1_010


async def test_without_redis_each_process_keeps_a_budget_of_its_own(tmp_path: Path) -> None:
    async with running_servers(tmp_path) as servers:
        redis = open_redis(servers.settings)
        budget = Budget(redis, "test", 1_000, SLOWLY)
        await budget.spend("key", 10)
        await servers.redis.kill()
        assert (await budget.spend("key", 500)).remaining <= 491
        assert (await budget.spend("other", 1_000)).remaining <= 1
        with pytest.raises(Throttled):
            await budget.spend("key", 600)
        await redis.aclose()
