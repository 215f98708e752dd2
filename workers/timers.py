"""Timers between two sweeps: for due instants, and for readers of the activity log that have work soon."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from app.clock import system_ms
from app.domain.errors import STORE_FAILURES
from app.domain.ids import slot_of
from app.domain.values.instants import to_ms
from app.flow import range_of
from app.store.stages.endpoint_leases import EndpointLeases, WaitingEndpoint
from workers.delivery.readers import Runs
from workers.stages.due import next_due_ms

from .worker import Worker

TIMER_HORIZON_MS = 1_500
"""How far a look ahead reads. It is longer than the default interval of sweeps, 1 s."""
MIN_TIMER_SECONDS = 0.05
"""The shortest timer. A clock that stands just before many due instants must not start one run after the other."""


class DueTimers:
    """Timers of one worker, at most one for each slot range.

    A range gets no timer while the worker advances its due passes, and one look at the store runs at a time. So the work
    that timers cause does not grow with the number of due passes.
    """

    def __init__(self, worker: Worker, run: Callable[[Worker, str], Awaitable[None]]) -> None:
        self._worker, self._run = worker, run
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._runs: dict[str, asyncio.Task[None]] = {}
        """Runs that timers started, by slot range."""
        self._is_looking = self._is_look_asked = False

    @property
    def count(self) -> int:
        """The number of timers that are set, and of runs that timers started."""
        return len(self._timers) + len(self._runs)

    async def look(self) -> None:
        """Set a timer for each slot range in which a pass is due soon. Raises Unavailable; safe to repeat.

        A call during another look returns at once; the other one then looks once more.
        """
        self._is_look_asked = True
        if self._is_looking:
            return
        self._is_looking = True
        try:
            while self._is_look_asked:
                self._is_look_asked = False
                await self._look_once()
        finally:
            self._is_looking = False

    async def close(self) -> None:
        """Set no further timer, and return when the runs under way have ended."""
        self._is_looking = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        await asyncio.gather(*self._runs.values())

    async def _look_once(self) -> None:
        now_ms = to_ms(await self._worker.resources.clock.now())
        loop = asyncio.get_running_loop()
        for pass_id, due_ms in await next_due_ms(self._worker, now_ms, TIMER_HORIZON_MS):
            key = range_of(slot_of(pass_id))
            if key not in self._timers and not self._is_running(key):
                seconds = max(MIN_TIMER_SECONDS, (due_ms - now_ms) / 1000 + 0.001)
                self._timers[key] = loop.call_later(seconds, self._start, key, due_ms)

    def _is_running(self, key: str) -> bool:
        return key in self._runs or self._worker.is_running("due", key)

    def _start(self, key: str, due_ms: int) -> None:
        del self._timers[key]
        if not self._is_running(key):
            self._runs[key] = asyncio.get_running_loop().create_task(self._advance(key, due_ms))

    async def _advance(self, key: str, due_ms: int) -> None:
        try:
            await self._run(self._worker, key)
        finally:
            del self._runs[key]
        with contextlib.suppress(*STORE_FAILURES):
            # If the clock has not reached the instant, it stands still, and a new timer would find the same again.
            if to_ms(await self._worker.resources.clock.now()) >= due_ms:
                await self.look()


class ReaderTimers:
    """Starts runs of readers of the log, and sets timers for readers that have work soon.

    Timers are kept by the id of the reader: a webhook endpoint, a channel, or for react the workspace.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def look(
        self, kind: str, leases: EndpointLeases, runs: Runs, start: Callable[[Worker, WaitingEndpoint], None]
    ) -> None:
        """Start a run of each reader that has work, and set timers for those that have work soon. Raises Unavailable.

        A reader has work for this worker, too, if the worker that holds it has ended.
        """
        worker, now_ms = self._worker, system_ms()
        for wake_up in runs.values():
            wake_up.set()
        found = await leases.waiting(now_ms + TIMER_HORIZON_MS)
        held = await leases.held()
        gone = await worker.sharing.find_gone({holder for _, holder in held})
        # This worker may hold a reader without a run: an earlier run could not release it.
        found += [
            each for each, holder in held if holder in gone or (holder == worker.id and each.endpoint_id not in runs)
        ]
        ready = {each.endpoint_id: each for each in found if each.begins_ms <= now_ms}
        fronts = {key: (each.at_ms, each.free_ms) for key, each in ready.items() if key not in runs}
        for key in worker.sharing.choose(kind, fronts):
            start(worker, ready[key])
        for reader in found:
            key, ahead_ms = reader.endpoint_id, reader.begins_ms - now_ms
            if ahead_ms > 0 and key not in self._timers and worker.sharing.prefers(kind, key):
                self._timers[key] = asyncio.get_running_loop().call_later(
                    ahead_ms / 1000 + 0.001, self._start, reader, start
                )

    def close(self) -> None:
        """Cancel all timers."""
        for timer in self._timers.values():
            timer.cancel()

    def _start(self, reader: WaitingEndpoint, start: Callable[[Worker, WaitingEndpoint], None]) -> None:
        self._timers.pop(reader.endpoint_id, None)
        start(self._worker, reader)
