"""Guards against hanging: how long a test waits for what has to happen before it fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager

PATIENCE_SECONDS = 600.0
"""The time after which a test that waits fails instead of hanging.

It is far longer than any wait on a busy machine, so load alone never fails a test. It is shorter than the `timeout` in
pyproject.toml, so that a test that waits fails with its own message.
"""


async def wait_until(condition: Callable[[], bool | Awaitable[bool]], pause_seconds: float = 0.02) -> None:
    """Repeat the condition until it is true. Fail the test if it is false for `PATIENCE_SECONDS`."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = condition()
        if found if isinstance(found, bool) else await found:
            return
        assert time.monotonic() < until, f"the condition was still false after {PATIENCE_SECONDS:g} s"
        await asyncio.sleep(pause_seconds)


@asynccontextmanager
async def running(
    work: Coroutine[object, object, object], stopping: asyncio.Event
) -> AsyncIterator[asyncio.Task[object]]:
    """Run something until the block ends, and yield its task. `stopping` is set at the end, also if the test fails.

    An error of the work ends the block. Otherwise the block would wait for what does not happen any more.
    """
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            try:
                yield task
            finally:
                stopping.set()
    except BaseExceptionGroup as group_error:
        raise group_error.exceptions[0] from None
