"""Send: send queued messages to customers over the channels of a workspace.

Each channel has a run of its own in the worker, as webhook endpoints have. The store holds the work token of each channel,
which writers replace when they queue messages. So sending does not depend on a wake-up of this stage.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from app.clock import system_ms
from app.outbound.addresses import Allowed
from app.outbound.message_sender import SEND_TIMEOUT_SECONDS, open_sender
from app.store.stages.endpoint_leases import Lease, WaitingEndpoint
from workers.delivery import readers
from workers.delivery.channel_run import ChannelRun, end_all, has_no_sender_left
from workers.failures import log_failures
from workers.worker import Worker


async def send(worker: Worker, workspace_id: str) -> None:
    """Start a run at every channel of a workspace that has work and that this worker prefers. Safe to repeat."""
    for channel in await worker.channel_leases.of_workspace(workspace_id):
        key = channel.endpoint_id
        if key in worker.senders or worker.sharing.prefers("channel", key):
            start_run(worker, channel)


def start_run(worker: Worker, channel: WaitingEndpoint) -> None:
    """Start a run at a channel, or wake the run that is under way, as `readers.start_run` says."""
    has_room = not has_no_sender_left(worker)
    readers.start_run(worker, "send", channel, runs=worker.senders, has_room=has_room, run=_guarded_run_channel)


async def run_channel(
    worker: Worker,
    channel_id: str,
    now_ms: Callable[[], int] | None = None,
    chance: Callable[[], float] = random.random,
    timeout_seconds: float = SEND_TIMEOUT_SECONDS,
) -> None:
    """Send over a channel until it has no work for now.

    Safe to repeat, and to run in several workers at once: one of them holds the lease. Arguments as for `run_endpoint`.
    """
    clock = now_ms or system_ms

    async def run(own: readers.Claimed) -> None:
        await _run(worker, own.lease, own.wake_up, clock, chance=chance, timeout_seconds=timeout_seconds)

    await readers.run_claimed(
        worker, "send", channel_id, clock, runs=worker.senders, leases=worker.channel_leases, run=run
    )


async def _run(
    worker: Worker,
    lease: Lease,
    wake_up: asyncio.Event,
    clock: Callable[[], int],
    *,
    chance: Callable[[], float],
    timeout_seconds: float,
) -> None:
    found = await worker.resources.workspace(lease.workspace_id).channels.get_with_secret(lease.endpoint_id)
    if found is None or found[0].is_archived:
        await end_all(worker, lease, clock())
        return
    settings, (channel, secret) = worker.resources.settings, found
    async with open_sender(channel, secret, Allowed.parse(settings.egress_allow), settings.mailbox) as sender:
        run = ChannelRun(
            worker,
            lease,
            channel,
            sender=sender,
            wake_up=wake_up,
            now_ms=clock,
            chance=chance,
            timeout_seconds=timeout_seconds,
        )
        await run.run()


_guarded_run_channel = log_failures("send", run_channel)
