"""Restock: free units and codes whose redemption was never recorded, or does not need them.

A redemption takes its units and its code before its event is recorded. If the process crashes in between, they name a
redemption that does not exist. This stage checks those that are older than ten minutes. It first inserts a stub under the
id of an event that never arrived: a late insert is then refused, so no redemption loses what it holds. Units and codes of
a redemption that was accepted are not checked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import groupby

from app.clock import system_ms
from app.commands.rewards.redemptions import find_redemptions
from app.commands.rewards.stock import free_units
from app.domain.ids import redemption_event_id
from app.domain.rewards.redemptions import Redemption, RedemptionStatus
from app.store.workspace.codes import OpenCode
from app.store.workspace.stock import OpenUnit
from app.store.workspace.workspace import Workspace
from workers.worker import Worker

MIN_AGE_MS = 600_000
"""Age of the units and codes that the stage checks. A call that records a redemption takes seconds at most."""
UNITS_PER_ROUND = 1_000
"""Units that one round checks at most, and codes."""


async def restock(worker: Worker, key: str) -> None:
    """Check old units and codes of a workspace. Safe to repeat, and to run in several workers at once."""
    await worker.run_alone("restock", key, lambda: restock_once(worker, key))


async def restock_once(worker: Worker, workspace_id: str) -> bool:
    """Check the oldest units and codes once, and return whether there may be more of them."""
    election = worker.last_election()
    workspace, now_ms = worker.resources.workspace(workspace_id), system_ms()
    units, codes = await asyncio.gather(
        workspace.stock.open_units(now_ms - MIN_AGE_MS, UNITS_PER_ROUND),
        workspace.codes.open_codes(now_ms - MIN_AGE_MS, UNITS_PER_ROUND),
    )
    taken: list[OpenUnit | OpenCode] = [*units, *codes]
    pass_ids = {each.redemption_id: each.pass_id or "" for each in taken if each.redemption_id is not None}
    found = dict(await find_redemptions(workspace, list(pass_ids)))
    # A new primary may not have shown all events.
    worker.require_same_primary(election)
    never_ids: set[str] = set()
    if missing := {redemption_event_id(each): each for each in pass_ids.keys() - found.keys()}:
        await workspace.removals.stub_missing({key: pass_ids[each] for key, each in missing.items()}, now_ms)
        # An event that arrived before its stub is there now.
        found |= await find_redemptions(workspace, list(missing.values()))
        never_ids = {missing[key] for key in await workspace.removals.never_recorded(list(missing))}
    await _check_units(workspace, units, found, now_ms)
    await _check_codes(workspace, codes, found, never_ids, now_ms)
    return UNITS_PER_ROUND in (len(units), len(codes))


async def _check_units(
    workspace: Workspace, units: Sequence[OpenUnit], found: Mapping[str, Redemption], now_ms: int
) -> None:
    """Free the units that no redemption needs, and let accepted redemptions keep theirs."""
    kept = [unit for unit in units if unit.redemption_id is None]
    pending: list[OpenUnit] = []
    named = sorted((unit for unit in units if unit.redemption_id is not None), key=_by_redemption)
    for key, own in groupby(named, key=_by_redemption):
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


async def _check_codes(
    workspace: Workspace,
    codes: Sequence[OpenCode],
    found: Mapping[str, Redemption],
    never_ids: set[str],
    now_ms: int,
) -> None:
    """Free the codes that no customer has seen: of a redemption that failed or never arrived, or a second one.

    The code of a redemption that was rolled back or removed stays taken, because its customer may still show it.
    """
    kept: list[OpenCode] = []
    pending: list[OpenCode] = []
    free: list[tuple[str, str]] = []
    for code in codes:
        redemption = found.get(code.redemption_id or "")
        if code.redemption_id is None or (redemption is None and code.redemption_id not in never_ids):
            kept.append(code)
        elif redemption is not None and redemption.status is RedemptionStatus.PENDING:
            pending.append(code)
        elif redemption is not None and redemption.code and workspace.codes.id_of(redemption.code) == code.id:
            kept.append(code)
        else:
            free.append((code.id, code.redemption_id))
    await workspace.codes.free(free)
    await workspace.codes.close(kept)
    await workspace.codes.postpone(pending, now_ms)


def _by_redemption(unit: OpenUnit) -> str:
    return unit.redemption_id or ""
