"""The time limit of an operation: it ends the operation, except while the operation stores an uploaded file."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from app.graphql.time_limit import TimeLimit


async def test_limit_cancels_the_block_at_its_deadline() -> None:
    limit = TimeLimit(0.01)
    with pytest.raises(TimeoutError):
        async with limit.apply():
            await asyncio.Event().wait()


async def test_time_in_a_lifted_block_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    limit, now = TimeLimit(1_000_000), asyncio.get_running_loop().time()
    monkeypatch.setattr(limit, "_loop", SimpleNamespace(time=lambda: now))
    async with limit.apply():
        before = limit.remaining_seconds()
        with limit.lift():
            assert limit.remaining_seconds() is None
            now += 5_000_000
        assert before is not None
        assert limit.remaining_seconds() == pytest.approx(before)
        now += 7
        assert limit.remaining_seconds() == pytest.approx(before - 7)


async def test_limit_of_an_operation_that_was_lifted_still_ends_it() -> None:
    limit = TimeLimit(0.01)

    async def store_and_wait() -> None:
        async with limit.apply():
            with limit.lift():
                await asyncio.sleep(0)
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await store_and_wait()
