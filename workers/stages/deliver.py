"""Deliver: what publish appended to the log is sent to the workspace's webhook endpoints.

Every endpoint is a run of its own in this process, begun here and by the sweep, and waited for by neither: endpoints may be
slow. How far each is lies in the store; whoever brings work says so there, and waking this stage only makes it quick.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from app.clock import system_ms
from app.outbound.addresses import Allowed
from app.outbound.http_client import open_poster
from app.outbound.webhook_sender import ATTEMPT_TIMEOUT_SECONDS
from app.store.stages.endpoint_leases import WaitingEndpoint
from workers.delivery.dispatcher import Dispatcher
from workers.failures import log_failures
from workers.worker import Worker


async def deliver(worker: Worker, workspace_id: str) -> None:
    """Begins a run at every endpoint of the workspace that has something to do. Safe to repeat and to race."""
    for waiting in await worker.endpoint_leases.of_workspace(workspace_id):
        begin(worker, waiting)


def begin(worker: Worker, waiting: WaitingEndpoint) -> None:
    """Begins a run at an endpoint, or tells the one that goes on; nothing where it is too early, or 100 runs go on."""
    woken = worker.dispatchers.get(waiting.endpoint_id)
    if woken is not None:
        woken.set()
    elif waiting.begins_ms <= system_ms() and not worker.stopping and not worker.has_no_dispatcher_left:
        # Entered here, so that the next one finds it.
        worker.dispatchers[waiting.endpoint_id] = asyncio.Event()
        worker.start_task(_guarded(worker, waiting.endpoint_id))


async def run_endpoint(
    worker: Worker,
    endpoint_id: str,
    now_ms: Callable[[], int] | None = None,
    chance: Callable[[], float] = random.random,
    seconds: float = ATTEMPT_TIMEOUT_SECONDS,
) -> None:
    """Delivers to an endpoint until there is nothing to do for now. Safe to repeat and to race: one at a time holds it."""
    clock = now_ms or system_ms
    woken = worker.dispatchers.setdefault(endpoint_id, asyncio.Event())

    async def once() -> bool:
        hold = await worker.endpoint_leases.claim(endpoint_id, clock())
        if hold is not None:
            allowed = Allowed.of(worker.resources.settings.egress_allow)
            async with open_poster(allowed) as connections:
                await Dispatcher(worker, hold, connections, woken, clock, chance, seconds).run()
        return False

    try:
        await worker.run_alone("deliver", endpoint_id, once)
    finally:
        worker.dispatchers.pop(endpoint_id, None)


_guarded = log_failures("deliver", run_endpoint)
