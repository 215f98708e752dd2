"""What one operation of a client takes from the store: time, calls at once, bytes and examined documents.

The engine of the API opens a `StoreUsage` for each operation. `driver.py` runs the calls of the operation within it.
Workers and commands of the operator have no usage, so their calls have none of these limits.
"""

from __future__ import annotations

import asyncio
import functools
import math
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

import pymongo

from app.domain.errors import OperationTooLarge, Throttled, Unavailable

from .capacity import (
    ACTIVE_SECONDS,
    ANSWER_STEP_BYTES,
    MAX_ANSWER_BYTES,
    MAX_CALLS_PER_OPERATION,
    MAX_READ_BYTES,
    MAX_WORKSPACE_BYTES,
    MIN_READ_SECONDS,
    READ_GRACE_SECONDS,
    ROWS_PER_POINT,
    UNTHROTTLED_BYTES,
    StoreCapacity,
    too_many_bytes,
)
from .shares import Call, WorkspaceShare

Charge = Callable[[int], Awaitable[None]]
"""A function that takes points from the budget of the API key. Raises Throttled if the budget does not cover them."""


class StoreUsage:
    """Usage of the store by one operation. Only `count_bytes` may be called in another thread than the event loop's.

    A read ends after `call_seconds`, or after the `remaining_seconds` of the operation if they are fewer. `points` is the
    cost of the operation so far, of `max_points`. `charge` takes points from the budget before a read, `owe` after it.
    `error` is the limit that was exceeded. At once, `when_exceeded` is called in the event loop; it ends the operation.
    """

    def __init__(
        self,
        share: WorkspaceShare,
        *,
        call_seconds: float,
        remaining_seconds: Callable[[], float | None] | None = None,
        points: int = 0,
        max_points: int = sys.maxsize,
        when_exceeded: Callable[[], None] | None = None,
        charge: Charge | None = None,
        owe: Callable[[int], None] | None = None,
        max_bytes: int = MAX_READ_BYTES,
    ) -> None:
        self.error: OperationTooLarge | Throttled | None = None
        self.answer_bytes = 0
        """Size of the answer so far, which the executor adds up."""
        self.calls = 0
        """Calls to the store that have started."""
        self.examined_points = 0
        """Points that examined documents have cost, in addition to the points that the operation cost at its start."""
        self._share = share
        self._call_seconds = call_seconds
        self._remaining_seconds = remaining_seconds
        self._when_exceeded = when_exceeded
        self._points = points
        self._max_points = max_points
        self._charge, self._owe = charge, owe
        self._max_bytes = max_bytes
        self._read_bytes = 0
        self._held_answer_bytes = 0
        self._running = 0
        self._waiting: deque[Call] = deque()
        self._is_queued = False
        self._is_closed = False

    @contextmanager
    def active(self) -> Iterator[None]:
        """Run the calls of the block, and of the tasks that it creates, within this usage."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def close(self) -> None:
        """Refuse the calls that wait and later ones, and release the bytes. Safe to repeat.

        Running calls keep their places until they end.
        """
        if self._is_closed:
            return
        self._is_closed = True
        for call in self._waiting:
            # motor 3.7.1 raises in the event loop if a future of ours is cancelled, so set an exception.
            if not call.future.done():
                call.future.set_exception(self.error or Unavailable("store"))
        self._waiting.clear()
        self._share.hold(-self._read_bytes - self._held_answer_bytes)

    def submit(self, call: Call) -> asyncio.Future[Any]:
        """Run a call as soon as the limits allow, and return the future of its result."""
        if self._is_closed or self.error is not None:
            call.future.set_exception(self.error or Unavailable("store"))
        elif self._can_start() and self._share.has_room():
            self._start(call)
        else:
            self._waiting.append(call)
            self._wait_for_turn()
        return call.future

    def start_next(self) -> None:
        """Start the call that has waited longest, if it still waits, and join the queue again for the next one."""
        self._is_queued = False
        while self._waiting and self._can_start():
            call = self._waiting.popleft()
            if not call.future.done():
                self._start(call)
                self._wait_for_turn()
                return

    def count_bytes(self, count: int) -> None:
        """Count bytes that the store sent. Beyond the limits, the running call fails. Safe in any thread."""
        self._read_bytes += count
        held = self._share.hold(count)
        if self._read_bytes > self._max_bytes:
            self.error = self.error or too_many_bytes("readBytes", self._max_bytes, "would read")
        elif held > MAX_WORKSPACE_BYTES and self._read_bytes > UNTHROTTLED_BYTES:
            self.error = self.error or Throttled(1.0)

    def check_answer(self) -> None:
        """Compare `answer_bytes` with the limits. Raises the error that ends the operation."""
        if self.answer_bytes - self._held_answer_bytes >= ANSWER_STEP_BYTES:
            held = self._share.hold(self.answer_bytes - self._held_answer_bytes)
            self._held_answer_bytes = self.answer_bytes
            if self.answer_bytes > MAX_ANSWER_BYTES:
                self.error = self.error or too_many_bytes("answerBytes", MAX_ANSWER_BYTES, "would answer with")
            elif held > MAX_WORKSPACE_BYTES and self.answer_bytes > UNTHROTTLED_BYTES:
                self.error = self.error or Throttled(1.0)
        if self.error is not None:
            self.fail(self.error)

    def affordable(self) -> int:
        """Return how many documents the store has to count to know whether the operation may examine them."""
        return max(1, self._max_points - self._points + 1) * self._share.capacity.examined_per_point

    async def charge(self, documents: int) -> None:
        """Charge for documents that the store is going to examine.

        Raises OperationTooLarge if the operation costs too much, and Throttled if the budget does not cover the points.
        """
        self._share.note_examined(documents)
        await self.charge_points(documents // self._share.capacity.examined_per_point)

    async def charge_points(self, points: int) -> None:
        """Charge points before the work that they pay for. Raises as `charge` does."""
        self._add_points(points)
        if points and self._charge is not None:
            await self._charge(points)

    def charge_afterwards(self, entries: int, *, examined: bool) -> None:
        """Charge for documents that the store has counted; with `examined`, it had to read them.

        If the budget does not cover the points, later operations wait until it does. Raises OperationTooLarge if the
        operation costs too much.
        """
        capacity = self._share.capacity
        self._share.note_examined(
            entries if examined else entries * capacity.examined_per_point // capacity.counted_per_point
        )
        points = entries // (capacity.examined_per_point if examined else capacity.counted_per_point)
        if points and self._owe is not None:
            self._owe(points)
        self._add_points(points)

    def _add_points(self, points: int) -> None:
        self._points += points
        self.examined_points += points
        if self._points > self._max_points:
            message = (
                f"The operation would cost {self._points:,} points with all that it examines; at most "
                f"{self._max_points:,} are allowed. Narrow the filters, or split the operation."
            )
            self.fail(OperationTooLarge("cost", self._max_points, message))

    def fail(self, error: OperationTooLarge | Throttled) -> None:
        """End the operation with an error, and raise the error that ended the operation."""
        if self.error is None:
            self.error = error
        self._report_error()
        raise self.error

    def _report_error(self) -> None:
        when_exceeded, self._when_exceeded = self._when_exceeded, None
        if when_exceeded is not None:
            when_exceeded()

    def _can_start(self) -> bool:
        return self._running < MAX_CALLS_PER_OPERATION

    def _wait_for_turn(self) -> None:
        """Join the queue of the workspace, if a call waits that the limit of the operation allows."""
        if self._waiting and self._can_start() and not self._is_queued:
            self._is_queued = True
            self._share.waiting.append(self)

    def _start(self, call: Call) -> None:
        self._running += 1
        self._share.running += 1
        self.calls += 1
        seconds = None if self._remaining_seconds is None else self._remaining_seconds()
        call.ends_at = time.monotonic() + min(
            self._call_seconds, self._call_seconds if seconds is None else seconds + READ_GRACE_SECONDS
        )
        call.executor.submit(self._run, call)

    def _run(self, call: Call) -> None:
        """Run a call in a thread of the driver."""
        result, error = None, None
        if not call.future.cancelled():
            try:
                result = call.context.run(self._run_in_time, call)
            except BaseException as raised:  # noqa: BLE001  # the future carries it to the event loop
                error = raised
        with suppress(RuntimeError):  # the event loop is closed
            call.loop.call_soon_threadsafe(self._end, call, result, error)

    def _run_in_time(self, call: Call) -> Any:
        if not call.is_read:
            result = call.run()
        else:
            seconds = call.ends_at - time.monotonic()
            if seconds < MIN_READ_SECONDS:
                raise Unavailable("store")
            with pymongo.timeout(seconds):
                result = call.run()
        if self.error is not None:
            raise self.error
        return result

    def _end(self, call: Call, result: Any, error: BaseException | None) -> None:
        self._running -= 1
        self._share.running -= 1
        if not call.future.done():
            if error is None:
                call.future.set_result(result)
            else:
                call.future.set_exception(error)
        if self.error is not None:
            self._report_error()
        self._wait_for_turn()
        self._share.start_waiting()


class StoreShares:
    """Shares of all workspaces that have running operations, in one process."""

    def __init__(self, capacity: StoreCapacity | None = None) -> None:
        self._capacity = capacity or StoreCapacity()
        self._shares: dict[str, WorkspaceShare] = {}
        self._latest: tuple[str, float] = ("", -math.inf)
        self._latest_other: tuple[str, float] = ("", -math.inf)

    @contextmanager
    def open(self, workspace_id: str, **limits: Any) -> Iterator[StoreUsage]:
        """Open the usage of one operation, with the arguments of `StoreUsage`. It is closed when the block ends."""
        share = self._shares.get(workspace_id)
        if share is None:
            share = self._shares[workspace_id] = WorkspaceShare(
                self._capacity, functools.partial(self._is_alone, workspace_id)
            )
        self._note_operation(workspace_id)
        share.operations += 1
        usage = StoreUsage(share, **limits)
        try:
            yield usage
        finally:
            usage.close()
            share.operations -= 1
            if not share.operations and not share.running:
                del self._shares[workspace_id]

    def _note_operation(self, workspace_id: str) -> None:
        if workspace_id != self._latest[0]:
            self._latest_other = self._latest
        self._latest = workspace_id, time.monotonic()

    def _is_alone(self, workspace_id: str) -> bool:
        """Return whether no other workspace has begun an operation lately."""
        _, seconds = self._latest_other if workspace_id == self._latest[0] else self._latest
        return time.monotonic() - seconds > ACTIVE_SECONDS


def current_usage() -> StoreUsage | None:
    """Return the usage of the operation that runs now; None outside of operations."""
    return _current.get()


async def charge(documents: int) -> None:
    """Charge the running operation, if there is one, for documents that the store is going to examine.

    Raises OperationTooLarge if the operation costs too much, and Throttled if the budget does not cover the points.
    """
    usage = current_usage()
    if usage is not None:
        await usage.charge(documents)


async def charge_rows(rows: int) -> None:
    """Charge the running operation, if there is one, for rows of rollups that the API has computed. Raises as `charge`."""
    usage = current_usage()
    if usage is not None:
        await usage.charge_points(rows // ROWS_PER_POINT)


def charge_counted(entries: int, *, examined: bool = False) -> None:
    """Charge the running operation, if there is one, for documents that the store has counted.

    With `examined`, the store had to read them; otherwise it read an index. Raises OperationTooLarge if the operation
    costs too much.
    """
    usage = current_usage()
    if usage is not None:
        usage.charge_afterwards(entries, examined=examined)


_current: ContextVar[StoreUsage | None] = ContextVar("store_usage", default=None)
