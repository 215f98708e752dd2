"""Restock: free units of rewards whose redemption was never recorded, or does not need them.

A redemption takes its units before its event is recorded. If the process crashes in between, the units name a redemption
that does not exist. This stage checks units that are older than ten minutes. It first inserts a stub under the id of an
event that never arrived: a late insert is then refused, so no redemption loses units that it holds. A unit whose redemption
was accepted is not checked again.
"""

from __future__ import annotations

from itertools import groupby

from app.clock import system_ms
from app.commands.rewards.redemptions import find_redemptions
from app.commands.rewards.stock import free_units
from app.domain.ids import redemption_event_id
from app.domain.rewards.redemptions import RedemptionStatus
from app.store.workspace.stock import OpenUnit
from workers.worker import Worker

MIN_AGE_MS = 600_000
"""Age of the units that the stage checks. A call that records a redemption takes seconds at most."""
UNITS_PER_ROUND = 1_000


async def restock(worker: Worker, key: str) -> None:
    """Check old units of a workspace. Safe to repeat, and to run in several workers at once."""
    await worker.run_alone("restock", key, lambda: restock_once(worker, key))


async def restock_once(worker: Worker, workspace_id: str) -> bool:
    """Check the oldest units once, and return whether there may be more of them."""
    election = worker.last_election()
    workspace, now_ms = worker.resources.workspace(workspace_id), system_ms()
    units = await workspace.stock.open_units(now_ms - MIN_AGE_MS, UNITS_PER_ROUND)
    named = sorted((unit for unit in units if unit.redemption_id is not None), key=_by_redemption)
    held = {key: list(group) for key, group in groupby(named, key=_by_redemption)}
    found = dict(await find_redemptions(workspace, list(held)))
    # A new primary may not have shown all events.
    worker.require_same_primary(election)
    if missing := [key for key in held if key not in found]:
        await workspace.removals.stub_missing(
            {redemption_event_id(key): held[key][0].pass_id or "" for key in missing}, now_ms
        )
        # An event that arrived before its stub is there now.
        found |= await find_redemptions(workspace, missing)
    kept: list[OpenUnit] = [unit for unit in units if unit.redemption_id is None]
    pending: list[OpenUnit] = []
    for key, own in held.items():
        redemption = found.get(key)
        match None if redemption is None else redemption.status:
            case RedemptionStatus.PENDING:
                pending += own
            case RedemptionStatus.SUCCEEDED:
                assert redemption is not None
                await free_units(workspace.stock, key, keep=redemption.quantity)
                kept += own
            case _:
                await free_units(workspace.stock, key)
    await workspace.stock.close(kept)
    await workspace.stock.postpone(pending, now_ms)
    return len(units) == UNITS_PER_ROUND


def _by_redemption(unit: OpenUnit) -> str:
    return unit.redemption_id or ""
