"""Rate limits by API key: operations cost points, and points come back every second.

Redis stores the remaining points of each key, shared by all API processes and kept over restarts. A process leases a
block of points and spends it locally, so most operations need no round trip. If Redis does not answer, each process
keeps a budget of its own.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import cast

from redis.asyncio import Redis

from app.bus import REDIS_ERRORS
from app.domain.errors import Throttled

log = logging.getLogger(__name__)

LEASES_PER_BUDGET = 100
"""Leases in a full budget. A crashed process loses at most the hundredth that it leased in advance."""
MAX_CACHED_KEYS = 10_000
REDIS_TIMEOUT_SECONDS = 0.25
REDIS_RETRY_SECONDS = 1.0
"""How long a process does not ask Redis again after Redis did not answer."""

# The script uses the clock of Redis, so processes with different clocks share one budget. Full budgets expire.
LEASE_SCRIPT = """
local capacity, rate, needed, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kept = redis.call('HMGET', KEYS[1], 'points', 'at')
local points, at = tonumber(kept[1]) or capacity, tonumber(kept[2]) or now
points = math.min(capacity, points + math.max(0, now - at) * rate / 1000)
local granted = 0
if points >= needed then granted = math.floor(math.min(wanted, points)) end
points = points - granted
redis.call('HSET', KEYS[1], 'points', string.format('%.3f', points), 'at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil((capacity - points) / rate * 1000) + 1000)
return {granted, string.format('%.3f', points)}
"""


@dataclass(frozen=True, slots=True)
class Allowance:
    """Points of a key after an operation that cost `cost`.

    `remaining` of `limit` points are left. All points are back in `full_in_seconds`.
    """

    limit: int
    remaining: int
    full_in_seconds: float
    cost: int


@dataclass(slots=True)
class _KeyBudget:
    """Points of one key, as this process sees them.

    `leased_points` are this process's own. `shared_points` were left for all processes at `read_at` (monotonic
    seconds).
    """

    shared_points: float
    read_at: float
    leased_points: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Budget:
    """Budgets of all keys, as one process sees them.

    Each holds at most `points`, of which `per_second` come back every second.
    """

    def __init__(self, redis: Redis, database: str, points: int, per_second: int) -> None:
        self._redis = redis
        self._database = database
        self._points = points
        self._per_second = per_second
        self._budgets: OrderedDict[str, _KeyBudget] = OrderedDict()
        self._redis_retry_at = 0.0

    async def spend(self, key_id: str, cost: int) -> Allowance:
        """Spend `cost` points, at most a full budget, and return what is left. Raises Throttled, with nothing spent."""
        budget = self._budgets.get(key_id)
        if budget is None:
            budget = self._budgets[key_id] = _KeyBudget(self._points, time.monotonic())
            if len(self._budgets) > MAX_CACHED_KEYS:
                self._budgets.popitem(last=False)
        else:
            self._budgets.move_to_end(key_id)
        if budget.leased_points < cost:
            # Take one lease at a time: the lease that another operation took meanwhile may be enough.
            async with budget.lock:
                if budget.leased_points < cost:
                    budget.leased_points += await self._lease(key_id, budget, cost - budget.leased_points)
        budget.leased_points -= cost
        remaining = min(self._points, budget.leased_points + int(self._current_shared_points(budget)))
        return Allowance(
            limit=self._points,
            remaining=remaining,
            full_in_seconds=(self._points - remaining) / self._per_second,
            cost=cost,
        )

    def _current_shared_points(self, budget: _KeyBudget) -> float:
        return min(self._points, budget.shared_points + (time.monotonic() - budget.read_at) * self._per_second)

    async def _lease(self, key_id: str, budget: _KeyBudget, needed: int) -> int:
        wanted = needed + max(1, self._points // LEASES_PER_BUDGET)
        granted = await self._lease_from_redis(key_id, budget, needed, wanted)
        if granted is None:
            budget.shared_points, budget.read_at = self._current_shared_points(budget), time.monotonic()
            granted = min(wanted, int(budget.shared_points)) if budget.shared_points >= needed else 0
            budget.shared_points -= granted
        if not granted:
            raise Throttled(math.ceil((needed - budget.shared_points) / self._per_second * 1000) / 1000)
        return granted

    async def _lease_from_redis(self, key_id: str, budget: _KeyBudget, needed: int, wanted: int) -> int | None:
        if time.monotonic() < self._redis_retry_at:
            return None
        arguments = map(str, (self._points, self._per_second, needed, wanted))
        try:
            async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                name = f"{self._database}:budget:{key_id}"
                answer = self._redis.eval(LEASE_SCRIPT, 1, name, *arguments)
                granted, shared_points = await cast(Awaitable[tuple[int, bytes]], answer)
        except REDIS_ERRORS as error:
            log.debug("budget kept in this process, Redis unavailable: key=%s: %s", key_id, error)
            self._redis_retry_at = time.monotonic() + REDIS_RETRY_SECONDS
            return None
        budget.shared_points, budget.read_at = float(shared_points), time.monotonic()
        return granted
