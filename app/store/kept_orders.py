"""Orders of passes that a process keeps for the pages after the first one, bounded for each workspace and in all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

MAX_KEPT_PASSES = 600_000
"""Passes that all kept orders hold, with 200 bytes for each."""
LEAST_SIZE = 3_000
"""Passes that an order counts as, at least. So a process keeps at most 200 orders."""
MAX_ORDERS = 20
"""Orders that are kept for one workspace."""


@dataclass(slots=True)
class _Kept:
    order: Any
    valid_until: float

    @property
    def size(self) -> int:
        return max(LEAST_SIZE, int(self.order.size))


class KeptOrders:
    """Orders by workspace and question. Each has `size`, the number of passes that it holds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._workspaces: dict[str, dict[Hashable, _Kept]] = {}
        self._locks: WeakValueDictionary[tuple[str, Hashable], asyncio.Lock] = WeakValueDictionary()

    def lock(self, workspace_id: str, key: Hashable) -> asyncio.Lock:
        """Return the lock for all who read one order. It exists as long as someone holds it or waits for it."""
        return self._locks.setdefault((workspace_id, key), asyncio.Lock())

    def get(self, workspace_id: str, key: Hashable) -> Any:
        """Return the order, or None."""
        kept = self._workspaces.get(workspace_id, {}).get(key)
        return None if kept is None or kept.valid_until <= self._now() else kept.order

    def keep(self, workspace_id: str, key: Hashable, order: Any, seconds: float) -> Any:
        """Keep an order for a time, and return it. Others may be dropped for it."""
        own = self._workspaces.setdefault(workspace_id, {})
        own.pop(key, None)
        own[key] = _Kept(order, self._now() + seconds)
        self.shrink()
        return order

    def shrink(self) -> None:
        """Drop the orders that are over, and the oldest ones above the limits. Call it when an order has grown.

        The workspace that holds most passes loses an order first, so no workspace makes another one lose its own.
        """
        now = self._now()
        for workspace_id, own in list(self._workspaces.items()):
            for key in [key for key, kept in own.items() if kept.valid_until <= now]:
                del own[key]
            while len(own) > MAX_ORDERS:
                del own[next(iter(own))]
            if not own:
                del self._workspaces[workspace_id]
        sizes = {each: sum(kept.size for kept in own.values()) for each, own in self._workspaces.items()}
        while sum(sizes.values()) > MAX_KEPT_PASSES:
            largest = max(sizes, key=lambda each: sizes[each])
            own = self._workspaces[largest]
            sizes[largest] -= own.pop(next(iter(own))).size
            if not own:
                del self._workspaces[largest], sizes[largest]
