"""Rate limits by API key and by workspace: operations cost points, and points come back every second.

A key spends from its own budget and from the budget of its workspace. Otherwise, a client could multiply its points by
creating keys. The tokens for one pass share a smaller budget, so that one customer cannot use up the workspace's. All
tokens of a workspace share three quarters of it: many customers together leave one whole budget to the keys.

Redis stores the remaining points of each key and workspace, shared by all API processes and kept over restarts. A
process leases a block of points and spends it locally, so most operations need no round trip. If Redis does not answer,
each process keeps budgets of its own.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar, cast

from redis.asyncio import Redis

from app.bus import REDIS_ERRORS
from app.domain.actors import is_token_holder
from app.domain.errors import OperationTooLarge, Throttled

log = logging.getLogger(__name__)
T = TypeVar("T")

LEASES_PER_BUDGET = 100
"""Leases in a full budget. A crashed process loses at most the hundredth that it leased in advance."""
MAX_CACHED_KEYS = 10_000
REDIS_TIMEOUT_SECONDS = 0.25
REDIS_RETRY_SECONDS = 1.0
"""How long a process does not ask Redis again after Redis did not answer."""

PASS_SHARE_PERCENT = 10
"""What all tokens for one pass have together of each limit for an API key, its budget included."""
TOKENS_SHARE_PERCENT = 75
"""What all tokens of a workspace have together of each limit of the workspace. The rest stays free for its keys."""
WORKSPACE_BUDGET_FACTOR = 4
"""Size of a workspace's budget, and the points that come back to it, as a multiple of the budget of one key."""

# The script uses the clock of Redis, so processes with different clocks share one budget. Full budgets expire.
# A lease takes its points from all budgets, or from none.
LEASE_SCRIPT = """
local needed, wanted = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local points = {}
local granted = wanted
for i = 1, #KEYS do
  local capacity, rate = tonumber(ARGV[1 + 2 * i]), tonumber(ARGV[2 + 2 * i])
  local kept = redis.call('HMGET', KEYS[i], 'points', 'at')
  local left, at = tonumber(kept[1]) or capacity, tonumber(kept[2]) or now
  points[i] = math.min(capacity, left + math.max(0, now - at) * rate / 1000)
  granted = math.min(granted, math.floor(points[i]))
end
if granted < needed then granted = 0 end
local answer = {granted}
for i = 1, #KEYS do
  local capacity, rate = tonumber(ARGV[1 + 2 * i]), tonumber(ARGV[2 + 2 * i])
  points[i] = points[i] - granted
  redis.call('HSET', KEYS[i], 'points', string.format('%.3f', points[i]), 'at', string.format('%.0f', now))
  redis.call('PEXPIRE', KEYS[i], math.ceil((capacity - points[i]) / rate * 1000) + 1000)
  answer[1 + i] = string.format('%.3f', points[i])
end
return answer
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
class _SharedBudget:
    """Budget of a key or a workspace, as this process saw it last.

    `points` were left for all processes at `read_at` (monotonic seconds). Of the `limit` points, `per_second` come back
    every second.
    """

    limit: int
    per_second: int
    points: float
    read_at: float

    def current_points(self) -> float:
        """Return the points that are left if no other process spent any."""
        return min(self.limit, self.points + (time.monotonic() - self.read_at) * self.per_second)

    def note(self, points: float) -> None:
        """Note the points that are left now."""
        self.points, self.read_at = points, time.monotonic()


@dataclass(slots=True)
class _KeyBudget:
    """Budget of one key, with the points that this process leased for the key."""

    shared: _SharedBudget
    leased_points: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Budget:
    """Budgets of all keys and workspaces, as one process sees them.

    The budget of a key holds at most `points`, of which `per_second` come back every second. The budget of a workspace
    is `WORKSPACE_BUDGET_FACTOR` times as large.
    """

    def __init__(self, redis: Redis, database: str, points: int, per_second: int) -> None:
        self._redis = redis
        self._database = database
        self._points = points
        self._per_second = per_second
        self._keys: OrderedDict[str, _KeyBudget] = OrderedDict()
        self._workspaces: OrderedDict[str, _SharedBudget] = OrderedDict()
        self._redis_retry_at = 0.0

    async def spend(self, workspace_id: str, key_id: str, cost: int) -> Allowance:
        """Spend `cost` points and return what is left.

        Raises, with nothing spent, Throttled, and OperationTooLarge for more points than a full budget has.
        """
        key = self._key_budget(key_id)
        shared = {key_id: key.shared, **self._shared_budgets(workspace_id, key_id)}
        if cost > key.shared.limit:
            message = f"This costs {cost} points; a budget of {key.shared.limit} points never covers it. Ask for less."
            raise OperationTooLarge("cost", key.shared.limit, message)
        if key.leased_points < cost:
            # Take one lease at a time: the lease that another operation took meanwhile may be enough.
            async with key.lock:
                if key.leased_points < cost:
                    needed = cost - key.leased_points
                    # What a key owes may exceed its budget, which never holds more than its limit. Pay it bit by bit.
                    least = needed if key.leased_points >= 0 else 1
                    key.leased_points += await self._lease(key.shared, shared, needed, least=least)
                if key.leased_points < cost:
                    raise _throttled(cost - key.leased_points, shared)
        key.leased_points -= cost
        left = int(min(each.current_points() for each in shared.values()))
        limit = key.shared.limit
        remaining = min(limit, key.leased_points + left)
        return Allowance(
            limit=limit,
            remaining=remaining,
            full_in_seconds=(limit - remaining) / key.shared.per_second,
            cost=cost,
        )

    def owe(self, key_id: str, cost: int) -> None:
        """Take points that were used already. If the budget does not cover them, later operations wait until it does."""
        self._key_budget(key_id).leased_points -= cost

    def _key_budget(self, key_id: str) -> _KeyBudget:
        return _cached(self._keys, key_id, lambda: _KeyBudget(self._full_budget(_percent_of(key_id))))

    def limit_of(self, key_id: str) -> int:
        """Return the points of the full budget of a key, a hook or the tokens for one pass."""
        return self._key_budget(key_id).shared.limit

    def _shared_budgets(self, workspace_id: str, key_id: str) -> dict[str, _SharedBudget]:
        """Return the budgets of the workspace from which a key spends, by name."""
        percents = {workspace_id: 100 * WORKSPACE_BUDGET_FACTOR}
        if is_token_holder(key_id):
            percents[f"{workspace_id}:tokens"] = TOKENS_SHARE_PERCENT * WORKSPACE_BUDGET_FACTOR
        return {
            name: _cached(self._workspaces, name, functools.partial(self._full_budget, percent))
            for name, percent in percents.items()
        }

    def _full_budget(self, percent: int) -> _SharedBudget:
        points, per_second = (max(1, percent * each // 100) for each in (self._points, self._per_second))
        return _SharedBudget(limit=points, per_second=per_second, points=points, read_at=time.monotonic())

    async def _lease(self, key: _SharedBudget, shared: Mapping[str, _SharedBudget], needed: int, *, least: int) -> int:
        """Lease the points that are needed and some more, or at least `least` of them. Raises Throttled for fewer."""
        wanted = needed + max(1, key.limit // LEASES_PER_BUDGET)
        granted = await self._lease_from_redis(shared, least, wanted)
        if granted is None:
            granted = min(wanted, *(int(each.current_points()) for each in shared.values()))
            granted = granted if granted >= least else 0
            for each in shared.values():
                each.note(each.current_points() - granted)
        if not granted:
            raise _throttled(needed, shared)
        return granted

    async def _lease_from_redis(self, shared: Mapping[str, _SharedBudget], needed: int, wanted: int) -> int | None:
        if time.monotonic() < self._redis_retry_at:
            return None
        names = [f"{self._database}:budget:{each}" for each in shared]
        sizes = [number for each in shared.values() for number in (each.limit, each.per_second)]
        arguments = map(str, (needed, wanted, *sizes))
        try:
            async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                answer = self._redis.eval(LEASE_SCRIPT, len(names), *names, *arguments)
                granted, *points = await cast(Awaitable[tuple[int, bytes, bytes]], answer)
        except REDIS_ERRORS as error:
            log.debug("budget kept in this process, Redis unavailable: %s: %s", " ".join(shared), error)
            self._redis_retry_at = time.monotonic() + REDIS_RETRY_SECONDS
            return None
        for each, left in zip(shared.values(), points, strict=True):
            each.note(float(left))
        return granted


def _throttled(needed: int, shared: Mapping[str, _SharedBudget]) -> Throttled:
    """Return the error for points that the budgets do not cover, with the seconds until they do."""
    seconds = max((needed - each.points) / each.per_second for each in shared.values())
    return Throttled(math.ceil(seconds * 1000) / 1000)


def _percent_of(key_id: str) -> int:
    """Return the size of the budget of an API key, a hook or the tokens for one pass, in percent of that of a key."""
    return PASS_SHARE_PERCENT if is_token_holder(key_id) else 100


def _cached(budgets: OrderedDict[str, T], name: str, make: Callable[[], T]) -> T:
    """Return the budget of that name, and make it if there is none. The least recently used ones are dropped."""
    budget = budgets.get(name)
    if budget is None:
        budget = budgets[name] = make()
        if len(budgets) > MAX_CACHED_KEYS:
            budgets.popitem(last=False)
    else:
        budgets.move_to_end(name)
    return budget
