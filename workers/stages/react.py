"""React: make what follows outside a pass from the entries of the activity log, such as the second event of a transfer.

One worker at a time reacts in a workspace. This stage and the sweep start its run and do not wait for it
(`workers/delivery/readers.py`).
"""

from __future__ import annotations

import random
from collections.abc import Callable

from app.clock import system_ms
from app.store.stages.endpoint_leases import WaitingEndpoint
from workers.delivery import readers
from workers.failures import log_failures
from workers.reactions.reactor import Reactor
from workers.worker import Worker

MAX_REACTORS = 1_000
"""Workspaces in which one process reacts at the same time."""


async def react(worker: Worker, workspace_id: str) -> None:
    """Start a run in a workspace that has work and that this worker prefers. Safe to repeat."""
    for workspace in await worker.react_leases.of_workspace(workspace_id):
        if workspace_id in worker.reactors or worker.sharing.prefers("react", workspace_id):
            start_run(worker, workspace)


def start_run(worker: Worker, workspace: WaitingEndpoint) -> None:
    """Start a run in a workspace, or wake the run that is under way, as `readers.start_run` says."""
    has_room = len(worker.reactors) < MAX_REACTORS
    readers.start_run(worker, "react", workspace, runs=worker.reactors, has_room=has_room, run=_guarded_run_workspace)


async def run_workspace(
    worker: Worker,
    workspace_id: str,
    now_ms: Callable[[], int] | None = None,
    chance: Callable[[], float] = random.random,
) -> None:
    """React in a workspace until there is no work for now.

    Safe to repeat, and to run in several workers at once: one of them holds the lease. `now_ms` is the system clock.
    `chance` returns a random number from 0 to 1.
    """
    clock = now_ms or system_ms

    async def run(own: readers.Claimed) -> None:
        await Reactor(worker, own.lease, election=own.election, wake_up=own.wake_up, now_ms=clock, chance=chance).run()

    await readers.run_claimed(
        worker, "react", workspace_id, clock, runs=worker.reactors, leases=worker.react_leases, run=run
    )


_guarded_run_workspace = log_failures("react", run_workspace)
