"""Shutdown of the API without losing requests: requests under way finish, and subscriptions end.

From the moment draining begins, every response closes its connection and `/readyz` returns 503. Subscriptions end, so
that their clients reconnect to another process. The server bounds how long it waits for requests under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from app.telemetry import metrics

log = logging.getLogger(__name__)

DRAIN_TIMEOUT_SECONDS = 8
"""How long uvicorn waits for requests under way after the connections were drained; then it cancels them."""
CLOSE_TIMEOUT_SECONDS = 4.0
"""How long subscriptions, and queries and mutations on the same sockets, may take to end."""
IDLE_TIMEOUT_SECONDS = 2.0
"""How long a silent connection stays open: a request may be in transit on it."""


class Shutdown:
    """State of the shutdown of one application, and the actions that run when it begins."""

    def __init__(self) -> None:
        self.begun = False
        self._actions: list[Callable[[], Awaitable[None]]] = []

    def when_begun(self, action: Callable[[], Awaitable[None]]) -> None:
        """Register an action that `begin` runs. The action ends streams or sockets, and returns when they have ended."""
        self._actions.append(action)

    async def begin(self) -> None:
        """Begin to drain: run all actions, and return when they have ended or after `CLOSE_TIMEOUT_SECONDS`.

        Safe to repeat: only the first call runs the actions.
        """
        if self.begun:
            return
        self.begun = True
        metrics.DRAINING.set(1)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await asyncio.gather(*(action() for action in self._actions))
        except TimeoutError:
            log.warning("subscriptions still open after %g s, continuing the shutdown", CLOSE_TIMEOUT_SECONDS)
