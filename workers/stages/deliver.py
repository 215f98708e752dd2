"""Deliver: send the activities that publish appended to the log to the webhook endpoints of the workspace.

Each endpoint has a run of its own in the worker. This stage and the sweep start runs and do not wait for them, since
endpoints may be slow. The store holds the progress of each endpoint and its work token, which writers replace when they
add work. So delivery does not depend on a wake-up of this stage: a wake-up only makes it quicker.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from app.clock import system_ms
from app.outbound.addresses import Allowed
from app.outbound.http_client import open_poster
from app.outbound.webhook_sender import ATTEMPT_TIMEOUT_SECONDS
from app.store.stages.endpoint_leases import Lease, WaitingEndpoint
from workers.delivery.dispatcher import Dispatcher
from workers.failures import log_failures
from workers.worker import Worker


async def deliver(worker: Worker, workspace_id: str) -> None:
    """Start a run at every endpoint of a workspace that has work and that this worker prefers. Safe to repeat."""
    for endpoint in await worker.endpoint_leases.of_workspace(workspace_id):
        key = endpoint.endpoint_id
        if key in worker.dispatchers or worker.sharing.prefers("endpoint", key):
            start_run(worker, endpoint)


def start_run(worker: Worker, endpoint: WaitingEndpoint) -> None:
    """Start a run at an endpoint, or wake the run that is under way.

    Does nothing if the endpoint may not be claimed yet, or if the worker stops or has 100 runs already, or while runs at
    the endpoint pause after failures.
    """
    wake_up = worker.dispatchers.get(endpoint.endpoint_id)
    if wake_up is not None:
        wake_up.set()
    elif worker.pauses.is_paused("deliver", endpoint.endpoint_id):
        return
    elif endpoint.begins_ms <= system_ms() and not worker.stopping and not worker.has_no_dispatcher_left:
        # Enter the run before its task starts, so that another call does not start a second run.
        worker.dispatchers[endpoint.endpoint_id] = asyncio.Event()
        worker.start_task(_guarded_run_endpoint(worker, endpoint.endpoint_id))


async def run_endpoint(
    worker: Worker,
    endpoint_id: str,
    now_ms: Callable[[], int] | None = None,
    chance: Callable[[], float] = random.random,
    timeout_seconds: float = ATTEMPT_TIMEOUT_SECONDS,
) -> None:
    """Deliver to an endpoint until it has no work for now.

    Safe to repeat, and to run in several workers at once: one of them holds the lease. `now_ms` is the system clock.
    `chance` returns a random number from 0 to 1. `timeout_seconds` is the longest time of one attempt.
    """
    clock = now_ms or system_ms
    wake_up = worker.dispatchers.setdefault(endpoint_id, asyncio.Event())

    async def once() -> bool:
        election = worker.last_election()
        lease = await _claim(worker, endpoint_id, clock())
        if lease is not None:
            allowed = Allowed.parse(worker.resources.settings.egress_allow)
            async with open_poster(allowed) as poster:
                dispatcher = Dispatcher(
                    worker=worker,
                    lease=lease,
                    election=election,
                    poster=poster,
                    wake_up=wake_up,
                    now_ms=clock,
                    chance=chance,
                    timeout_seconds=timeout_seconds,
                )
                await dispatcher.run()
        return False

    try:
        await worker.run_alone("deliver", endpoint_id, once)
    finally:
        worker.dispatchers.pop(endpoint_id, None)


async def _claim(worker: Worker, endpoint_id: str, now_ms: int) -> Lease | None:
    """Claim an endpoint that is free, or whose holder has ended. None if another worker holds it or it has no work."""
    leases, holder = worker.endpoint_leases, worker.sharing.holder
    if (lease := await leases.claim(endpoint_id, now_ms, holder)) is not None:
        return lease
    held = await leases.lease_on(endpoint_id)
    if held is None or held.holder is None:
        return None
    # This process has one run at an endpoint at a time, so a lease of its own is one that an earlier run left behind.
    has_ended = held.holder == holder or held.holder in await worker.sharing.find_gone([held.holder])
    return await leases.take_over(held, now_ms, holder) if has_ended else None


_guarded_run_endpoint = log_failures("deliver", run_endpoint)
