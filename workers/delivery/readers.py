"""Readers of the activity log in one worker: the claim of a reader's lease, and the start of a run in the background.

A run is not waited for, since it may be slow. The store holds the progress of each reader and its work token, which writers
replace when they add work. So no reader depends on a wake-up: a wake-up only makes it quicker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from app.clock import system_ms
from app.store.stages.endpoint_leases import EndpointLeases, Lease, WaitingEndpoint
from workers.worker import Worker

Runs = dict[str, asyncio.Event]
"""The event that wakes the run of a reader, by the id of the reader."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a run of a reader begins with: its lease, the election before the claim, and the event that wakes the run."""

    lease: Lease
    election: object
    wake_up: asyncio.Event


def start_run(
    worker: Worker,
    stage: str,
    reader: WaitingEndpoint,
    *,
    runs: Runs,
    has_room: bool,
    run: Callable[[Worker, str], Coroutine[Any, Any, None]],
) -> None:
    """Start a run of a reader, or wake the run that is under way.

    Does nothing if the reader may not be claimed yet, if the worker stops or has no room for another run, or while runs of
    the reader pause after failures.
    """
    key = reader.endpoint_id
    if key in runs:
        runs[key].set()
    elif worker.pauses.is_paused(stage, key):
        return
    elif reader.begins_ms <= system_ms() and not worker.stopping and has_room:
        # Enter the run before its task starts, so that another call does not start a second run.
        runs[key] = asyncio.Event()
        worker.start_task(run(worker, key))


async def claim(worker: Worker, leases: EndpointLeases, reader_id: str, now_ms: int) -> Lease | None:
    """Claim a reader that is free, or whose holder has ended. None if another worker holds it or it has no work."""
    holder = worker.sharing.holder
    if (lease := await leases.claim(reader_id, now_ms, holder)) is not None:
        return lease
    held = await leases.lease_on(reader_id)
    if held is None or held.holder is None:
        return None
    # This process has one run of a reader at a time, so a lease of its own is one that an earlier run left behind.
    has_ended = held.holder == holder or held.holder in await worker.sharing.find_gone([held.holder])
    return await leases.take_over(held, now_ms, holder) if has_ended else None


async def run_claimed(
    worker: Worker,
    stage: str,
    reader_id: str,
    now_ms: Callable[[], int],
    *,
    runs: Runs,
    leases: EndpointLeases,
    run: Callable[[Claimed], Awaitable[None]],
) -> None:
    """Claim a reader and run it; do nothing if it cannot be claimed.

    One run of a reader at a time is under way in a worker. `runs` has it until it ends.
    """
    wake_up = runs.setdefault(reader_id, asyncio.Event())

    async def once() -> bool:
        # The run may read from another primary than the claim: the election before both decides.
        election = worker.last_election()
        lease = await claim(worker, leases, reader_id, now_ms())
        if lease is not None:
            await run(Claimed(lease, election, wake_up))
        return False

    try:
        await worker.run_alone(stage, reader_id, once)
    finally:
        runs.pop(reader_id, None)
