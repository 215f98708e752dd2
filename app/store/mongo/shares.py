"""Calls of the driver, and the share of a workspace in the calls of a process."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .capacity import StoreCapacity

if TYPE_CHECKING:
    from .usage import StoreUsage


@dataclass(slots=True)
class Call:
    """One call of the driver: its function, the context to run it in, and the future of its result."""

    loop: asyncio.AbstractEventLoop
    executor: Executor
    run: Callable[[], Any]
    is_read: bool
    context: contextvars.Context
    future: asyncio.Future[Any]
    ends_at: float = 0.0
    """Monotonic seconds at which a read ends."""


class WorkspaceShare:
    """Share of one workspace: its running calls, and the bytes that its running operations hold."""

    def __init__(self, capacity: StoreCapacity) -> None:
        self.capacity = capacity
        self.running = 0
        self.operations = 0
        self.waiting: deque[StoreUsage] = deque()
        """Operations with a waiting call that the limit of the operation allows, in the order of their turns."""
        self._bytes = 0
        self._lock = threading.Lock()

    def hold(self, count: int) -> int:
        """Add bytes, or subtract them if negative, and return the sum. Safe in any thread."""
        with self._lock:
            self._bytes += count
            return self._bytes

    def start_waiting(self) -> None:
        """Start waiting calls while the limit of the workspace allows, one of each operation in turn."""
        while self.waiting and self.running < self.capacity.calls_per_workspace:
            self.waiting.popleft().start_next()
