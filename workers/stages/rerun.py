"""Rerun: run failed messages of inbound hooks again while they wait for the event that they correct.

A refund may arrive before the purchase that it corrects. The hook answered that it keeps the message, so the sender does
not send it again. The delay between reruns grows, and the reruns end when the message expires.
"""

from __future__ import annotations

from app.clock import system_ms
from app.commands.inbound.reruns import rerun_waiting_delivery
from workers.worker import Worker


async def rerun(worker: Worker, key: str) -> None:
    """Run one failed message again if it is due. Safe to repeat, and to run in several workers at once."""
    await worker.run_alone("rerun", key, lambda: rerun_once(worker, key))


async def rerun_once(worker: Worker, delivery_id: str) -> bool:
    """Claim the message and run it again. Returns False: the next rerun comes later."""
    claimed = await worker.rerun_queries.claim(delivery_id, system_ms())
    if claimed is not None:
        await rerun_waiting_delivery(worker.resources, claimed.workspace_id, delivery_id)
    return False
