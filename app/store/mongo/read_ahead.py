"""Reading of a list in parts, in which the store reads the next part while the caller works on one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def read_ahead(read: Callable[[], Awaitable[list[T]]]) -> AsyncGenerator[list[T], None]:
    """Yield the parts that `read` returns, until one is empty. At most one further part is in memory.

    Raises what `read` raises. If the caller stops early, the read that is under way is cancelled.
    """
    reading = asyncio.ensure_future(read())
    try:
        while part := await reading:
            reading = asyncio.ensure_future(read())
            yield part
    finally:
        reading.cancel()
        # The result is fetched, so that no error of this read is logged as lost.
        await asyncio.gather(reading, return_exceptions=True)
