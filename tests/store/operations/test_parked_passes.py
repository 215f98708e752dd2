"""A parked pass is listed with its failure, and folded whole once it is released."""

from __future__ import annotations

from decimal import Decimal

import pytest

from app.domain.fold import advance
from app.store.operations.parked_passes import ParkedPasses
from tests.business import Business


async def test_a_released_pass_is_folded_with_all_that_waited(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await business.record({"amount": 1}, {"amount": 2}, {"amount": 5, "pass_external_id": "bob"})
    bad = (await business.card()).id

    def broken(card, *args, **options):  # type: ignore[no-untyped-def]
        if card.id == bad:
            raise ArithmeticError("no")
        return advance.advance(card, *args, **options)

    with monkeypatch.context() as trouble:
        trouble.setattr("workers.stages.advance.advance", broken)
        for _ in range(5):
            await business.settle()
    parking = ParkedPasses(business.ctx.resources.db)
    [parked] = await parking.passes()
    assert (parked.id, parked.workspace_id, parked.failure) == (bad, business.ctx.workspace.id, "ArithmeticError: no")
    for _ in range(2):
        await parking.release(parked, await business.clock.now())
    assert await parking.passes() == []
    await business.settle()
    row = (await business.card()).aggregates["purchase", "USD"]
    assert (row.count, row.sum) == (2, Decimal(3))
