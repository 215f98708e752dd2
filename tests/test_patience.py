"""The guards against hanging: a test ends when the work ends that it waits for, and leaves none behind."""

from __future__ import annotations

import asyncio

import pytest

from tests.patience import running


async def test_work_that_ends_with_an_error_ends_the_wait_for_it() -> None:
    async def refuse() -> None:
        raise ConnectionError("refused")

    with pytest.raises(ConnectionError, match="refused"):
        async with running(refuse(), asyncio.Event()):
            await asyncio.Event().wait()


async def test_failed_test_leaves_no_work_running() -> None:
    stopping, tasks = asyncio.Event(), list[asyncio.Task[object]]()

    async def fail() -> None:
        async with running(asyncio.Event().wait(), stopping) as task:
            tasks.append(task)
            raise AssertionError("failed")

    with pytest.raises(AssertionError, match="failed"):
        await fail()
    assert stopping.is_set()
    assert tasks[0].done()
