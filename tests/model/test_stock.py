"""No interleaving oversells a reward or loses a unit, and each wrong variant of the protocol is caught."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from app.commands.rewards import stock as commands
from app.commands.rewards.stock import free_units, take_units
from tests.model.stock import MemoryStock, run, step

RUNS, STEPS = 400, 400
MUTANT_RUNS = 3_000


class UnitNotUnique(MemoryStock):
    """A stock that gives a unit to whoever asks last."""

    async def insert(
        self, reward_id: str, numbers: Sequence[int], *, redemption_id: str, pass_id: str, system_ms: int
    ) -> list[int]:
        await step()
        for number in numbers:
            self.units[number] = redemption_id, self.now
        return list(numbers)


async def frees_when_sold_out(stock: Any, reward_id: str, redemption_id: str, **options: Any) -> bool:
    """Take units, and free those of the redemption if none is left."""
    if await take_units(stock, reward_id, redemption_id, **options):
        return True
    await free_units(stock, redemption_id)
    return False


async def frees_the_lowest(stock: Any, reward_id: str, redemption_id: str, *, quantity: int, **options: Any) -> bool:
    """Take units, and free the lowest of those that are too many."""
    held = [number for _, number in await stock.held(redemption_id)]
    if len(held) > quantity:
        await stock.free(reward_id, redemption_id, held[:-quantity])
    return await take_units(LowestStock(stock), reward_id, redemption_id, quantity=quantity, **options)


class LowestStock:
    """A stock of which a redemption sees its units in the wrong order."""

    def __init__(self, stock: MemoryStock) -> None:
        self._stock = stock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stock, name)

    async def held(self, redemption_id: str) -> list[tuple[str, int]]:
        return (await self._stock.held(redemption_id))[::-1]


def test_no_interleaving_oversells_or_loses_a_unit() -> None:
    problems = [(seed, problem) for seed in range(RUNS) if (problem := run(seed, STEPS)) is not None]
    assert problems == []


@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param(lambda: {"stock": UnitNotUnique()}, id="unit not unique"),
        pytest.param(lambda: {"stubs": False}, id="unit freed without taking the event's id"),
        pytest.param(lambda: {"take": frees_when_sold_out}, id="a sold-out repeat frees"),
        pytest.param(lambda: {"take": frees_the_lowest}, id="the lowest units freed"),
    ],
)
def test_wrong_variant_is_caught(mutant: Any) -> None:
    assert any(run(seed, STEPS, **mutant()) is not None for seed in range(MUTANT_RUNS))


def test_model_uses_the_code_of_the_product() -> None:
    assert take_units is commands.take_units
