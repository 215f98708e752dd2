"""Calls of the driver, and the share of a workspace in the calls of a process."""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .capacity import EXAMINED_HALF_LIFE_SECONDS, StoreCapacity

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
    """Share of one workspace: its running calls, and the bytes that its running operations hold.

    `is_alone` returns whether no other workspace uses the process now.
    """

    def __init__(self, capacity: StoreCapacity, is_alone: Callable[[], bool] = lambda: True) -> None:
        self.capacity = capacity
        self._is_alone = is_alone
        self._examined = 0.0
        self._examined_at = 0.0
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

    def note_examined(self, documents: int) -> None:
        """Note documents that the store examines, or that it has counted, for the workspace."""
        now = time.monotonic()
        self._examined = self._recently_examined(now) + documents
        self._examined_at = now

    def has_room(self) -> bool:
        """Return whether another call may start.

        A store works on few calls at once. Calls that examine many documents would take it from the other workspaces, so a
        workspace that makes such calls runs fewer while others use the process.
        """
        capacity = self.capacity
        if self.running >= capacity.calls_per_workspace:
            return False
        if self.running < capacity.calls_of_heavy_workspace:
            return True
        return self._recently_examined(time.monotonic()) <= capacity.heavy_documents or self._is_alone()

    def _recently_examined(self, now: float) -> float:
        return self._examined * math.exp2((self._examined_at - now) / EXAMINED_HALF_LIFE_SECONDS)

    def start_waiting(self) -> None:
        """Start waiting calls while the limit of the workspace allows, one of each operation in turn."""
        while self.waiting and self.has_room():
            self.waiting.popleft().start_next()
