"""The budget of each API key: points that operations cost and that come back by the second.

Redis keeps what is left, so that it survives restarts of the API and is one for all its processes. A process leases a block
and spends it by itself: most operations ask nobody. Without Redis each process keeps a budget of its own meanwhile.
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
"""A lease is a hundredth of a whole budget: what a process that dies takes with it at most."""
MAX_CACHED_KEYS = 10_000
REDIS_TIMEOUT_SECONDS = 0.25
REDIS_RETRY_SECONDS = 1.0
"""How long a Redis that did not answer is not asked again."""

# By Redis's own clock. A budget that is full again need not be kept.
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
    """What a key may spend after an operation that cost `cost`: `remaining` of `limit` points, all in `full_in_seconds`."""

    limit: int
    remaining: int
    full_in_seconds: float
    cost: int


@dataclass(slots=True)
class _Held:
    """What this process holds of a key's budget, and what was left of the rest at `at` (monotonic seconds)."""

    rest: float
    at: float
    points: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Budget:
    """The budgets of all keys, as one process sees them: `points` at most, `per_second` of them coming back."""

    def __init__(self, redis: Redis, database: str, points: int, per_second: int) -> None:
        self._redis = redis
        self._database = database
        self._points = points
        self._per_second = per_second
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._away_until = 0.0

    async def spend(self, key_id: str, cost: int) -> Allowance:
        """What is left after spending `cost`, at most a whole budget. Raises Throttled, with nothing spent."""
        held = self._held.get(key_id)
        if held is None:
            held = self._held[key_id] = _Held(self._points, time.monotonic())
            if len(self._held) > MAX_CACHED_KEYS:
                self._held.popitem(last=False)
        else:
            self._held.move_to_end(key_id)
        if held.points < cost:
            # One lease at a time: whoever waited may find enough.
            async with held.lock:
                if held.points < cost:
                    held.points += await self._lease(key_id, held, cost - held.points)
        held.points -= cost
        remaining = min(self._points, held.points + int(self._rest(held)))
        return Allowance(self._points, remaining, (self._points - remaining) / self._per_second, cost)

    def _rest(self, held: _Held) -> float:
        return min(self._points, held.rest + (time.monotonic() - held.at) * self._per_second)

    async def _lease(self, key_id: str, held: _Held, needed: int) -> int:
        wanted = needed + max(1, self._points // LEASES_PER_BUDGET)
        granted = await self._asked(key_id, held, needed, wanted)
        if granted is None:
            held.rest, held.at = self._rest(held), time.monotonic()
            granted = min(wanted, int(held.rest)) if held.rest >= needed else 0
            held.rest -= granted
        if not granted:
            raise Throttled(math.ceil((needed - held.rest) / self._per_second * 1000) / 1000)
        return granted

    async def _asked(self, key_id: str, held: _Held, needed: int, wanted: int) -> int | None:
        if time.monotonic() < self._away_until:
            return None
        numbers = map(str, (self._points, self._per_second, needed, wanted))
        try:
            async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                name = f"{self._database}:budget:{key_id}"
                answer = self._redis.eval(LEASE_SCRIPT, 1, name, *numbers)
                granted, rest = await cast(Awaitable[tuple[int, bytes]], answer)
        except REDIS_ERRORS as error:
            log.debug("the budget of %s is kept here: %s", key_id, error)
            self._away_until = time.monotonic() + REDIS_RETRY_SECONDS
            return None
        held.rest, held.at = float(rest), time.monotonic()
        return granted
