"""Freshness of an answer while erasures, merges and corrections move on between its reads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest

from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import erase_pass
from app.store.workspace.removals import RemovalQueries
from app.store.workspace.rollups import RollupQueries
from app.store.workspace.waiting import Waiting
from tests.graphql.serving import Api
from workers.main import STAGES
from workers.sweep import Sweep

ASK = """{ aggregateEvents(input: { function: SUM, categories: [TRANSACTION] }) {
  value freshness { exact pendingEvents } } }"""


async def ask(api: Api) -> tuple[str, bool, int]:
    """Return the spend of all customers, whether it is exact, and the number of pending events."""
    answer = (await api.fetch_data(ASK))["aggregateEvents"]
    return answer["value"], answer["freshness"]["exact"], answer["freshness"]["pendingEvents"]


def run_before_read(patch: pytest.MonkeyPatch, name: str, step: Callable[[], Awaitable[None]]) -> None:
    """Run a step before the next read of removals of one kind. Reads that began together with it are done by then."""
    read, steps = RemovalQueries._oldest, [step]

    async def held(self: RemovalQueries, collection: Any, instant: str, flagged: Any = None, **fields: Any) -> Waiting:
        if steps and name in {*(flagged or ()), *map(str, fields.values())}:
            run = steps.pop()
            await asyncio.sleep(0.1)
            await run()
        return await read(self, collection, instant, flagged, **fields)

    patch.setattr(RemovalQueries, "_oldest", held)


async def test_answer_is_not_exact_if_the_fold_ends_a_pass_between_two_reads(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.business.record({"amount": 20}, {"amount": 7, "pass_external_id": "bob"})
    await api.business.run_worker()
    await erase_pass(api.business.ctx, external_id="bob")
    with monkeypatch.context() as patch:
        run_before_read(patch, "pass_erased", Sweep(api.business.worker, STAGES).fold)
        assert await ask(api) == ("27", False, 1)
    await api.business.run_worker()
    assert await ask(api) == ("20", True, 0)


async def test_answer_is_not_exact_if_a_merge_ends_between_two_reads(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout and its new total lie on two passes. The survivor makes the difference after the end of the merge."""
    business, sweep = api.business, Sweep(api.business.worker, STAGES)
    [bought] = (await business.record({"type": "checkout", "amount": 20})).results
    await business.record({"type": "visit", "pass_external_id": "bob"})
    await business.run_worker()
    assert bought.event is not None
    ids = await business.ctx.workspace.passes.ids_of(["ann", "bob"])
    await merge_passes(business.ctx, ids["bob"], ids["ann"])
    await sweep.fold()
    await business.record({"type": "checkout_update", "amount": 5, "correction_of": bought.event.id})
    await sweep.fold()
    await sweep.publish()
    assert await ask(api) == ("20", False, 1)
    with monkeypatch.context() as patch:
        run_before_read(patch, "merging", sweep.merge)
        assert await ask(api) == ("20", False, 0)
    assert await ask(api) == ("20", False, 0)
    await business.run_worker()
    assert await ask(api) == ("5", True, 0)


async def test_answer_is_not_exact_if_a_checkout_is_changed_between_two_reads(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    business, sweep, read = api.business, Sweep(api.business.worker, STAGES), RollupQueries.first_made_at
    [bought] = (await business.record({"type": "checkout", "amount": 20})).results
    await business.run_worker()
    assert bought.event is not None
    await business.record({"type": "checkout_update", "amount": 5, "correction_of": bought.event.id})

    async def read_and_fold(self: RollupQueries, before_ms: int) -> datetime | None:
        found = await read(self, before_ms)
        await sweep.fold()
        return found

    monkeypatch.setattr(RollupQueries, "first_made_at", read_and_fold)
    assert await ask(api) == ("20", False, 0)
    await sweep.publish()
    assert await ask(api) == ("5", True, 0)
