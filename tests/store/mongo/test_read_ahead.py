"""Parts that are read ahead: the next read runs beside the caller, and ends with the caller."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from app.store.mongo.read_ahead import read_ahead


async def test_next_part_is_read_while_the_caller_works_on_one() -> None:
    parts, begun = iter([[1, 2], [3], []]), asyncio.Event()
    reads = list[int]()

    async def read() -> list[int]:
        reads.append(len(reads))
        if len(reads) == 2:
            begun.set()
        return next(parts)

    found = list[int]()
    async for part in read_ahead(read):
        if not found:
            await begun.wait()
        found += part
    assert (found, reads) == ([1, 2, 3], [0, 1, 2])


async def test_read_under_way_is_cancelled_if_the_caller_stops() -> None:
    cancelled = list[bool]()

    async def read() -> list[int]:
        if not cancelled:
            cancelled.append(False)
            return [1]
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return []

    async with aclosing(read_ahead(read)) as parts:
        async for part in parts:
            assert part == [1]
            await asyncio.sleep(0)
            break
    assert cancelled == [False, True]


async def test_error_of_a_read_reaches_the_caller() -> None:
    parts = iter([[1]])

    async def read() -> list[int]:
        try:
            return next(parts)
        except StopIteration:
            raise ConnectionError from None

    with pytest.raises(ConnectionError):
        async for _ in read_ahead(read):
            pass
