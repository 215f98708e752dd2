"""Units of a reward: a redemption takes them before its event is recorded.

A unit is a document with a unique number. Repeats of one redemption may take several units each; all but the lowest are
freed. If none is left, the redemption keeps what it has: its event says SOLD_OUT, the walk declines it, and the units of
declined redemptions are freed afterwards. So a repeat never frees what an accepted redemption holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from zlib import crc32

from app.clock import system_ms
from app.domain.errors import Unavailable
from app.store.workspace.stock import MAX_NUMBERS_READ

MAX_ATTEMPTS = 40
"""How often a redemption looks for units while others take those that it has found."""


class Stock(Protocol):
    """Units of rewards, as `StockQueries` reads and writes them."""

    async def reserve(self, reward_id: str, total: int, count: int) -> list[int]:
        """Return up to `count` numbers that no call was given before."""

    async def recall(self, reward_id: str, total: int, count: int) -> list[int]:
        """Return up to `count` numbers that were freed and remembered."""

    async def insert(
        self, reward_id: str, numbers: Sequence[int], *, redemption_id: str, pass_id: str, system_ms: int
    ) -> list[int]:
        """Take units, and return the numbers that were free."""

    async def held(self, redemption_id: str) -> list[tuple[str, int]]:
        """Return the units of a redemption, ascending."""

    async def count_taken(self, reward_id: str, low: int, high: int) -> int:
        """Return how many units of a range are taken."""

    async def taken(self, reward_id: str, low: int, high: int) -> set[int]:
        """Return the numbers of a range that are taken."""

    async def free(self, reward_id: str, redemption_id: str, numbers: Sequence[int]) -> None:
        """Free units that a redemption has."""


async def take_units(
    stock: Stock,
    reward_id: str,
    redemption_id: str,
    *,
    pass_id: str,
    quantity: int,
    total: int,
    may_repeat: bool,
) -> bool:
    """Take units for a redemption, and return whether it has `quantity` of them. Safe to repeat.

    Two round trips, unless others take the same units: one finds numbers, one takes them. With `may_repeat`, another call
    may take units for the same redemption, so that two more read what it has. Raises Unavailable.
    """
    held = await _held(stock, redemption_id) if may_repeat else []
    for _ in range(MAX_ATTEMPTS):
        if len(held) > quantity:
            await stock.free(reward_id, redemption_id, held[quantity:])
        if len(held) >= quantity:
            return True
        numbers = await _find_numbers(stock, reward_id, redemption_id, total=total, count=quantity - len(held))
        if not numbers:
            return False
        taken = await stock.insert(
            reward_id, numbers, redemption_id=redemption_id, pass_id=pass_id, system_ms=system_ms()
        )
        held = await _held(stock, redemption_id) if may_repeat else sorted([*held, *taken])
    raise Unavailable("store")


async def free_units(stock: Stock, redemption_id: str, keep: int = 0) -> None:
    """Free the units of a redemption but for the lowest `keep`. Safe to repeat."""
    held = await stock.held(redemption_id)
    by_reward: dict[str, list[int]] = {}
    for reward_id, number in held[keep:]:
        by_reward.setdefault(reward_id, []).append(number)
    for reward_id, numbers in by_reward.items():
        await stock.free(reward_id, redemption_id, numbers)


async def _held(stock: Stock, redemption_id: str) -> list[int]:
    return [number for _, number in await stock.held(redemption_id)]


async def _find_numbers(stock: Stock, reward_id: str, redemption_id: str, *, total: int, count: int) -> list[int]:
    """Return numbers that may be free; none if all units are taken."""
    if numbers := await stock.reserve(reward_id, total, count):
        return numbers
    if numbers := await stock.recall(reward_id, total, count):
        return numbers
    return await _find_gaps(stock, reward_id, crc32(redemption_id.encode()), total=total, count=count)


async def _find_gaps(stock: Stock, reward_id: str, choice: int, *, total: int, count: int) -> list[int]:
    """Return free numbers up to `total`, found by counting in halves. `choice` leads different calls to different gaps."""
    low, high = 1, total
    if await stock.count_taken(reward_id, low, high) >= total:
        return []
    while high - low >= MAX_NUMBERS_READ:
        middle = (low + high) // 2
        halves = [(low, middle), (middle + 1, high)]
        first, second = halves if choice % 2 else halves[::-1]
        has_gap = await stock.count_taken(reward_id, *first) < first[1] - first[0] + 1
        (low, high), choice = first if has_gap else second, choice // 2
    taken = await stock.taken(reward_id, low, high)
    gaps = [number for number in range(low, high + 1) if number not in taken]
    start = choice % len(gaps) if gaps else 0
    return [*gaps[start:], *gaps[:start]][:count]
