"""Parked passes: they are listed with their failure, and folded completely after their release."""

from __future__ import annotations

from decimal import Decimal

import pytest

from app.domain.fold import advance
from app.store.operations.parked_passes import ParkedPasses
from tests.business import Business


async def test_released_pass_is_folded_with_all_pending_events(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await business.record({"amount": 1}, {"amount": 2}, {"amount": 5, "pass_external_id": "bob"})
    failing = (await business.read_pass()).id

    def fail_for_one_pass(card, *args, **options):  # type: ignore[no-untyped-def]
        if card.id == failing:
            raise ArithmeticError("no")
        return advance.advance(card, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr("workers.stages.advance.advance", fail_for_one_pass)
        for _ in range(5):
            await business.run_worker()
    parked_passes = ParkedPasses(business.ctx.resources.db)
    [parked] = await parked_passes.passes()
    assert (parked.id, parked.workspace_id) == (failing, business.ctx.workspace.id)
    assert parked.failure == "ArithmeticError: no"
    for _ in range(2):
        await parked_passes.release(parked, await business.clock.now())
    assert await parked_passes.passes() == []
    await business.run_worker()
    row = (await business.read_pass()).aggregates["purchase", "USD"]
    assert (row.count, row.sum) == (2, Decimal(3))
