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
from app.outbound.http_client import posting
from app.outbound.webhook_sender import SECONDS
from app.store.stages.endpoint_leases import Waiting
from workers.delivery.dispatcher import Courier
from workers.failures import guarded
from workers.worker import Worker


async def deliver(worker: Worker, workspace_id: str) -> None:
    """Begins a run at every endpoint of the workspace that has something to do. Safe to repeat and to race."""
    for waiting in await worker.lane_runs.of_workspace(workspace_id):
        begin(worker, waiting)


def begin(worker: Worker, waiting: Waiting) -> None:
    """Begins a run at an endpoint, or tells the one that goes on; nothing where it is too early, or 100 runs go on."""
    woken = worker.couriers.get(waiting.endpoint_id)
    if woken is not None:
        woken.set()
    elif waiting.begins_ms <= system_ms() and not worker.stopping and not worker.crowded:
        # Entered here, so that the next one finds it.
        worker.couriers[waiting.endpoint_id] = asyncio.Event()
        worker.begin(_guarded(worker, waiting.endpoint_id))


async def carry(
    worker: Worker,
    endpoint_id: str,
    now_ms: Callable[[], int] | None = None,
    chance: Callable[[], float] = random.random,
    seconds: float = SECONDS,
) -> None:
    """Delivers to an endpoint until there is nothing to do for now. Safe to repeat and to race: one at a time holds it."""
    clock = now_ms or system_ms
    woken = worker.couriers.setdefault(endpoint_id, asyncio.Event())

    async def once() -> bool:
        hold = await worker.lane_runs.claim(endpoint_id, clock())
        if hold is not None:
            allowed = Allowed.of(worker.resources.settings.egress_allow)
            async with posting(allowed) as connections:
                await Courier(worker, hold, connections, woken, clock, chance, seconds).run()
        return False

    try:
        await worker.alone("deliver", endpoint_id, once)
    finally:
        worker.couriers.pop(endpoint_id, None)


_guarded = guarded("deliver", carry)
