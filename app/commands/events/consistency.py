"""Reading what was written: waiting until the events of a receipt are counted, and told in the feed."""

from __future__ import annotations

import asyncio

from app.commands.context import Context
from app.domain.errors import Code, InvalidInput, NotYet
from app.domain.events.receipts import RECORDED
from app.domain.ids import slot_of
from app.flow import range_of

from .receipts import IssuedReceipt, find_receipt

WAIT_TIMEOUT_SECONDS = 5.0
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.01, 0.25


async def open_receipt(ctx: Context, token: str) -> IssuedReceipt:
    """The receipt of a token. Raises InvalidInput: UNKNOWN for what is no token here."""
    issued = await find_receipt(ctx, token)
    if issued is None:
        raise InvalidInput(Code.UNKNOWN, "No such receipt in this workspace, or none any more.", "token")
    return issued


async def wait_until_folded(ctx: Context, token: str, *, told: bool = False) -> None:
    """Returns when the fold is done with the events of a receipt, and with `told` when the feed has what they brought about.

    Looks again after 10 ms, then ever less often. Raises InvalidInput for what is no token here, NotYet after 5 seconds.
    """
    issued = await open_receipt(ctx, token)
    waiting = {f.event_id for f in issued.receipt.outcomes if f.status in RECORDED and f.event_id is not None}
    clock = asyncio.get_running_loop().time
    until, pause, first = clock() + WAIT_TIMEOUT_SECONDS, SHORTEST_PAUSE_SECONDS, True
    while waiting := await _behind(ctx, waiting, told=told, wake=first):
        if clock() + pause > until:
            raise NotYet
        await asyncio.sleep(pause)
        pause, first = min(pause * 1.5, LONGEST_PAUSE_SECONDS), False


async def _behind(ctx: Context, event_ids: set[str], *, told: bool, wake: bool) -> set[str]:
    standings = await ctx.workspace.fold_states.of(event_ids)
    pending = {event_id for event_id, standing in standings.items() if not standing.folded}
    if pending and wake:
        ctx.resources.bus.wake("fold", *{range_of(slot_of(standings[each].pass_id)) for each in pending})
    if not told:
        return pending
    folded = {event_id: standing for event_id, standing in standings.items() if standing.folded}
    untold = await ctx.workspace.fold_states.unpublished(folded) if folded else set()
    if untold and wake:
        ctx.resources.bus.wake("publish", ctx.workspace.id)
    return pending | untold
