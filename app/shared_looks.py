"""Shared looks: many callers wait until something is done, and one loop asks about all of it at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextvars import Context

MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.01, 0.25

FindDone = Callable[[Collection[str], Collection[str]], Awaitable[set[str]]]
"""A function that takes the keys that callers wait for, and those of them that it has not seen yet. It returns those that
are done."""


class _Caller:
    """One caller: the keys that it still waits for, and the future that ends its wait."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.remaining = set(keys)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class SharedLook:
    """Loop that looks at the keys of all callers at once, at most every 10 ms.

    After looks without progress the pauses grow to 250 ms; a new caller ends a long pause. The loop runs only while callers
    wait. `when_idle` is called when it ends.
    """

    def __init__(self, find_done: FindDone, when_idle: Callable[[], object] = lambda: None) -> None:
        self._find_done, self._when_idle = find_done, when_idle
        self._callers: list[_Caller] = []
        self._arrived = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    async def wait(self, keys: Iterable[str], max_seconds: float) -> set[str]:
        """Wait until the keys are done, and return those that are not in time. Raises what a look raises."""
        caller = _Caller(keys)
        if not caller.remaining:
            return set()
        self._callers.append(caller)
        self._arrived.set()
        if self._loop is None:
            # The looks belong to no operation, so they take nothing from the budget or the time of the first caller.
            self._loop = asyncio.create_task(self._look_until_idle(), context=Context())
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max_seconds):
                    await caller.done
        finally:
            if caller in self._callers:
                self._callers.remove(caller)
        return caller.remaining

    async def _look_until_idle(self) -> None:
        pause_seconds, seen = MIN_PAUSE_SECONDS, set[str]()
        try:
            while self._callers:
                self._arrived.clear()
                wanted = set().union(*(caller.remaining for caller in self._callers))
                done = await self._find_done(wanted, wanted - seen)
                is_new, seen = not wanted <= seen, wanted
                self._tell(done)
                pause_seconds = MIN_PAUSE_SECONDS if done or is_new else min(pause_seconds * 1.5, MAX_PAUSE_SECONDS)
                if self._callers:
                    await self._pause(pause_seconds)
        except Exception as error:  # noqa: BLE001 - each caller raises it
            for caller in self._callers:
                if not caller.done.done():
                    caller.done.set_exception(error)
            self._callers.clear()
        finally:
            self._loop = None
            self._when_idle()

    def _tell(self, done: set[str]) -> None:
        for caller in list(self._callers):
            caller.remaining -= done
            if not caller.remaining:
                self._callers.remove(caller)
                if not caller.done.done():
                    caller.done.set_result(None)

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(MIN_PAUSE_SECONDS)
        if seconds > MIN_PAUSE_SECONDS:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds - MIN_PAUSE_SECONDS):
                    await self._arrived.wait()
