"""Deliver: send the activities that publish appended to the log to the webhook endpoints of the workspace.

Each endpoint has a run of its own in the worker. This stage and the sweep start runs and do not wait for them, since
endpoints may be slow (`workers/delivery/readers.py`).
"""

from __future__ import annotations

import random
from collections.abc import Callable

from app.clock import system_ms
from app.outbound.addresses import Allowed
from app.outbound.http_client import open_poster
from app.outbound.webhook_sender import ATTEMPT_TIMEOUT_SECONDS
from app.store.stages.endpoint_leases import WaitingEndpoint
from workers.delivery import readers
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
    has_room = not worker.has_no_dispatcher_left
    readers.start_run(
        worker, "deliver", endpoint, runs=worker.dispatchers, has_room=has_room, run=_guarded_run_endpoint
    )


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

    async def run(own: readers.Claimed) -> None:
        async with open_poster(Allowed.parse(worker.resources.settings.egress_allow)) as poster:
            dispatcher = Dispatcher(
                worker=worker,
                lease=own.lease,
                election=own.election,
                poster=poster,
                wake_up=own.wake_up,
                now_ms=clock,
                chance=chance,
                timeout_seconds=timeout_seconds,
            )
            await dispatcher.run()

    await readers.run_claimed(
        worker, "deliver", endpoint_id, clock, runs=worker.dispatchers, leases=worker.endpoint_leases, run=run
    )


_guarded_run_endpoint = log_failures("deliver", run_endpoint)
