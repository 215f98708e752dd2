"""Freshness of questions about single customers while these are merged or erased between two reads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import erase_pass
from app.store.workspace.removals import RemovalQueries
from app.store.workspace.waiting import Waiting
from tests.graphql.serving import Api
from workers.main import STAGES
from workers.sweep import Sweep

TIME = 'from: "2025-12-31T00:00:00Z", to: "2026-01-02T00:00:00Z"'
TOP = f"{{ topPasses(input: {{ by: COUNT, {TIME} }}) {{ freshness {{ exact }} passes {{ nodes {{ value }} }} }} }}"
CELLS = f"{{ recencyFrequencyMonetary(input: {{ {TIME} }}) {{ freshness {{ exact }} cells {{ passes }} }} }}"
ACTIVE = f"{{ eventSummary(input: {{ {TIME} }}) {{ freshness {{ exact }} activePasses }} }}"


def top_values(answer: Any) -> list[int]:
    """Return the number of events of each customer."""
    return [int(node["value"]) for node in answer["passes"]["nodes"]]


def cell_sizes(answer: Any) -> list[int]:
    """Return the number of customers of all cells together."""
    return [sum(cell["passes"] for cell in answer["cells"])]


def active_passes(answer: Any) -> list[int]:
    """Return the number of active customers."""
    return [answer["activePasses"]]


def run_after_first_look(patch: pytest.MonkeyPatch, step: Callable[[], Awaitable[None]]) -> None:
    """Run a step after a question has looked for removals, and before it reads anything else."""
    look = RemovalQueries.pending

    async def look_and_run(self: RemovalQueries) -> Waiting:
        found = await look(self)
        await step()
        return found

    patch.setattr(RemovalQueries, "pending", look_and_run)


@pytest.mark.parametrize(
    ("query", "read", "in_part", "merged"),
    [(TOP, top_values, [2], [3]), (CELLS, cell_sizes, [2], [1]), (ACTIVE, active_passes, [2], [1])],
    ids=["topPasses", "recencyFrequencyMonetary", "activePasses"],
)
async def test_answer_is_not_exact_if_customers_move_while_it_is_read(
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
    query: str,
    read: Callable[[Any], list[int]],
    in_part: list[int],
    merged: list[int],
) -> None:
    """A merge is requested after the first look and has moved one of two events; later, an erasure begins and ends."""
    monkeypatch.setattr("workers.stages.erase.CACHE_EXPIRY_SECONDS", 0.0)
    business, sweep = api.business, Sweep(api.business.worker, STAGES)
    await business.record({"amount": 10}, {"amount": 20, "pass_external_id": "bob"}, {"pass_external_id": "bob"})
    await business.run_worker()
    ids = await business.ctx.workspace.passes.ids_of(["ann", "bob"])

    async def ask() -> tuple[list[int], bool]:
        [answer] = (await api.fetch_data(query)).values()
        return read(answer), answer["freshness"]["exact"]

    async def merge_in_part() -> None:
        await merge_passes(business.ctx, ids["ann"], ids["bob"])
        await sweep.fold()
        worker = business.worker
        alias = (await worker.fold_queries.passes([ids["bob"]]))[ids["bob"]]
        with monkeypatch.context() as patch:
            patch.setattr(worker.merge_queries, "_in_chunk", 1)
            await worker.merge_queries.move(alias, lambda: None)

    async def erase() -> None:
        await erase_pass(business.ctx, external_id="ann")
        await business.run_worker()

    with monkeypatch.context() as patch:
        run_after_first_look(patch, merge_in_part)
        assert await ask() == (in_part, False)
    await business.run_worker()
    assert await ask() == (merged, True)
    with monkeypatch.context() as patch:
        run_after_first_look(patch, erase)
        assert (await ask())[1] is False
    assert sum((await ask())[0]) == 0
    assert (await ask())[1] is True
