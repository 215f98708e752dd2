"""Diagnostics of rules: workers add up in memory and store the counts of each hour under their own id."""

from __future__ import annotations

import pytest

from app.domain.errors import Unavailable
from app.domain.rules.statistics import Diagnostics
from app.domain.values.instants import HOUR_MS, from_ms
from tests.business import Business
from workers.diagnostics import RuleDiagnostics

NOON = 20_000 * 24 * HOUR_MS + 12 * HOUR_MS


async def read(business: Business, **bounds: int) -> Diagnostics:
    after, before = (from_ms(bounds[name]) if name in bounds else None for name in ("after", "before"))
    return await business.ctx.workspace.rule_counts.read("rule_1", after, before)


def add(diagnostics: RuleDiagnostics, business: Business, at_ms: int, matched: int, **reasons: int) -> None:
    skipped = {("rule_1", reason): count for reason, count in reasons.items()} | {("rule_2", "NTH"): 9}
    diagnostics.add(business.ctx.workspace.id, at_ms, {"rule_1": matched, "rule_2": 9}, skipped)


async def test_counts_of_workers_and_hours_add_up(business: Business) -> None:
    one, two = (RuleDiagnostics(business.ctx.resources.db, f"worker_{number}") for number in (1, 2))
    add(one, business, NOON, 3, NTH=2)
    add(two, business, NOON + 1, 4, LIMIT=1)
    add(one, business, NOON + HOUR_MS, 5)
    assert not await one.store(NOON)
    assert not await two.store(NOON)
    assert await read(business) == Diagnostics(12, {"NTH": 2, "LIMIT": 1})
    assert (await read(business, after=NOON + HOUR_MS)).matched == 5
    assert (await read(business, after=NOON + 1, before=NOON + HOUR_MS)).matched == 7
    assert (await read(business, before=NOON)).matched == 0


async def test_counts_are_stored_again_as_a_whole_so_that_a_repeat_changes_nothing(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    diagnostics = RuleDiagnostics(business.ctx.resources.db, "worker_1")
    add(diagnostics, business, NOON, 3)
    await diagnostics.store(NOON)
    add(diagnostics, business, NOON, 4)

    async def fail(*_: object) -> None:
        raise Unavailable("store")

    with monkeypatch.context() as patch:
        patch.setattr(diagnostics._writes, "store", fail)
        with pytest.raises(Unavailable):
            await diagnostics.store(NOON)
    await diagnostics.store(NOON)
    await diagnostics.store(NOON)
    assert (await read(business)).matched == 7


async def test_hours_that_are_over_leave_the_memory_after_they_were_stored(business: Business) -> None:
    diagnostics = RuleDiagnostics(business.ctx.resources.db, "worker_1")
    add(diagnostics, business, NOON, 3)
    await diagnostics.store(NOON + HOUR_MS)
    add(diagnostics, business, NOON + HOUR_MS - 1, 1)
    await diagnostics.store(NOON + 3 * HOUR_MS)
    assert diagnostics._counts == {}
    assert (await read(business)).matched == 4
