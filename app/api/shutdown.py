"""How the API goes away without dropping what it has: no new connections, answers finished, streams ended.

From the moment draining begins every response closes its connection, subscriptions end so that their clients go on
elsewhere, and `readyz` says so. What ends by itself is waited for; the server bounds how long.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from app.telemetry import metrics

log = logging.getLogger(__name__)

DRAIN_TIMEOUT_SECONDS = 8
"""How long the API may take, after it was asked to stop, to finish the requests it has."""
CLOSE_TIMEOUT_SECONDS = 4.0
"""How long subscriptions and the operations beside them on a socket may take to end."""
IDLE_TIMEOUT_SECONDS = 2.0
"""How long a connection that asks nothing is kept: a request may be under way on it, and its answer says `close`."""


class Shutdown:
    """Whether this process is going away, for everybody who has to act on it. One an application."""

    def __init__(self) -> None:
        self.begun = False
        self._leaving: list[Callable[[], Awaitable[None]]] = []

    def when_begun(self, leave: Callable[[], Awaitable[None]]) -> None:
        """Calls `leave` when draining begins; it returns when what it stands for has ended."""
        self._leaving.append(leave)

    async def begin(self) -> None:
        """Tells everybody, and returns when all have left, after a few seconds at most. Safe to repeat."""
        if self.begun:
            return
        self.begun = True
        metrics.DRAINING.set(1)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await asyncio.gather(*(leave() for leave in self._leaving))
        except TimeoutError:
            log.warning("some subscriptions did not end within %g s", CLOSE_TIMEOUT_SECONDS)
