"""Units of a reward under random interleavings: the real `take_units`, over a stock in memory, with crashes and stalls.

Each step of a call ends at a read or write of the stock, where the schedule may stop the call for a while or for good. The
walk, the freeing of units and the stage `restock` are played by the smallest code that does what they promise.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass, field
from types import coroutine
from typing import Any

from app.commands.rewards.stock import free_units, take_units
from app.store.workspace.stock import MAX_REMEMBERED

TOTAL = 6
OLD_STEPS = 40
"""Steps after which the stage `restock` looks at a unit."""
REWARD = "reward_1"


@coroutine
def step() -> Generator[None, None, None]:
    """End a step of the call."""
    yield


@dataclass
class MemoryStock:
    """Stock of one reward in memory: what `StockQueries` promises, one step for each round trip."""

    now: int = 0
    next: int = 1
    remembered: list[int] = field(default_factory=list)
    units: dict[int, tuple[str, int]] = field(default_factory=dict)
    """The redemption of each unit, and the step at which it was taken, by number."""

    async def reserve(self, reward_id: str, total: int, count: int) -> list[int]:
        await step()
        numbers = list(range(self.next, min(self.next + count - 1, total) + 1))
        self.next += len(numbers)
        return numbers

    async def recall(self, reward_id: str, total: int, count: int) -> list[int]:
        await step()
        found = [number for number in self.remembered if number <= total][:count]
        await step()
        self.remembered = [number for number in self.remembered if number not in found]
        return found

    async def insert(
        self, reward_id: str, numbers: Sequence[int], *, redemption_id: str, pass_id: str, system_ms: int
    ) -> list[int]:
        taken = []
        for number in numbers:
            await step()
            if number not in self.units:
                self.units[number] = redemption_id, self.now
                taken.append(number)
        await step()
        return taken

    async def held(self, redemption_id: str) -> list[tuple[str, int]]:
        await step()
        return sorted((REWARD, number) for number, (owner, _) in self.units.items() if owner == redemption_id)

    async def count_taken(self, reward_id: str, low: int, high: int) -> int:
        await step()
        return sum(low <= number <= high for number in self.units)

    async def taken(self, reward_id: str, low: int, high: int) -> set[int]:
        await step()
        return {number for number in self.units if low <= number <= high}

    async def free(self, reward_id: str, redemption_id: str, numbers: Sequence[int]) -> None:
        for number in numbers:
            await step()
            if self.units.get(number, ("", 0))[0] == redemption_id:
                del self.units[number]
        await step()
        if len(self.remembered) + len(numbers) <= MAX_REMEMBERED:
            self.remembered += numbers


@dataclass
class Recorded:
    """What is stored under the id of a redemption's event; `accepted` is None until the walk has decided it."""

    is_sold_out: bool = False
    is_stub: bool = False
    accepted: bool | None = None


Take = Callable[..., Awaitable[bool]]
Call = Coroutine[Any, Any, None]


class Shop:
    """Redemptions of one reward, and the calls under way."""

    def __init__(
        self, seed: int, take: Take = take_units, stock: MemoryStock | None = None, *, stubs: bool = True
    ) -> None:
        self.random = random.Random(seed)
        self.stock = stock or MemoryStock()
        self.events: dict[str, Recorded] = {}
        self.quantities: dict[str, int] = {}
        self._take, self._stubs = take, stubs

    async def redeem(self, redeemed: str) -> None:
        """Redeem, as `record_redemption` does: look at the event, take units, record the event."""
        await step()
        if redeemed in self.events:
            return
        has_units = await self._take(
            self.stock, REWARD, redeemed, pass_id="pass_1", quantity=self.quantities[redeemed], total=TOTAL,
            may_repeat=True,
        )  # fmt: skip
        if self.random.random() < 0.1:
            for _ in range(self.random.choice([5, 60])):
                await step()
        await step()
        self.events.setdefault(redeemed, Recorded(is_sold_out=not has_units))

    async def fold(self) -> None:
        """Decide events, as the walk does."""
        for event in list(self.events.values()):
            if event.accepted is None:
                event.accepted = not event.is_sold_out and not event.is_stub and self.random.random() < 0.6
            await step()

    async def react(self) -> None:
        """Free the units of declined redemptions."""
        for redeemed, event in list(self.events.items()):
            if event.accepted is False:
                await free_units(self.stock, redeemed)
            await step()

    async def restock(self) -> None:
        """Look at old units, as the stage of that name does."""
        for number, (redeemed, taken_at) in list(self.stock.units.items()):
            await step()
            if self.stock.now - taken_at <= OLD_STEPS:
                continue
            if redeemed not in self.events and self._stubs:
                self.events[redeemed] = Recorded(is_stub=True, accepted=False)
                await step()
            event = self.events.get(redeemed)
            if event is None or event.accepted is False:
                await self.stock.free(REWARD, redeemed, [number])
            elif event.accepted:
                await free_units(self.stock, redeemed, keep=self.quantities[redeemed])

    def find_problem(self) -> str | None:
        """Return what is wrong at this moment, or None."""
        for redeemed, event in self.events.items():
            units = sum(owner == redeemed for owner, _ in self.stock.units.values())
            if event.accepted and units < self.quantities[redeemed]:
                return f"{redeemed} is accepted without its units"
        return None


def run(seed: int, steps: int, **options: Any) -> str | None:
    """Run a schedule and return the first problem, or None. `options` are those of `Shop`."""
    calls: list[Call] = []
    try:
        return _run(Shop(seed, **options), calls, steps)
    finally:
        for call in calls:
            call.close()


def _run(shop: Shop, calls: list[Call], steps: int) -> str | None:
    chosen = shop.random
    for _ in range(steps):
        shop.stock.now += 1
        chance = chosen.random()
        if chance < 0.05 and len(shop.quantities) < 12:
            shop.quantities[f"red_{len(shop.quantities)}"] = chosen.choice([1, 1, 2])
        if chance < 0.16 and shop.quantities and len(calls) < 9:
            calls.append(shop.redeem(chosen.choice(list(shop.quantities))))
        elif chance < 0.26:
            calls.append(chosen.choice([shop.fold, shop.react, shop.restock])())
        elif calls:
            call = chosen.choice(calls)
            # One in 25 steps is a crash: the call never goes on.
            if chosen.random() < 0.04 or _has_ended(call):
                calls.remove(call)
                call.close()
        if problem := shop.find_problem():
            return problem
    for call in calls:
        while not _has_ended(call):
            shop.stock.now += 1
    for _ in range(6):
        shop.stock.now += 2 * OLD_STEPS
        for stage in (shop.fold, shop.react, shop.restock, shop.fold, shop.react):
            call = stage()
            while not _has_ended(call):
                pass
    return shop.find_problem() or _find_loss(shop)


def _has_ended(call: Call) -> bool:
    """Run a call for one step, and return whether it has ended."""
    try:
        call.send(None)
    except StopIteration:
        return True
    return False


def _find_loss(shop: Shop) -> str | None:
    needed = sum(shop.quantities[redeemed] for redeemed, event in shop.events.items() if event.accepted)
    if needed > TOTAL:
        return "oversold"
    return None if len(shop.stock.units) == needed else "a unit is lost"
