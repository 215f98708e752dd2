"""Reading one's own writes: waiting until the events of a receipt are folded, or published in the feed."""

from __future__ import annotations

import asyncio

from app.commands.context import Context
from app.domain.errors import Code, InvalidInput, NotYet
from app.domain.events.receipts import RECORDED

from .receipts import IssuedReceipt, find_receipt

WAIT_TIMEOUT_SECONDS = 5.0
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.01, 0.25


async def open_receipt(ctx: Context, token: str) -> IssuedReceipt:
    """Return the receipt of a token. Raises InvalidInput: UNKNOWN for a token without a receipt in this workspace."""
    issued = await find_receipt(ctx, token)
    if issued is None:
        raise InvalidInput(
            Code.UNKNOWN, "This workspace has no such receipt, or the receipt expired after 30 days.", "token"
        )
    return issued


async def wait_until_folded(ctx: Context, token: str, *, published: bool = False) -> None:
    """Return when the events of a receipt are folded; with `published`, when their activities are in the feed.

    Raises InvalidInput for an unknown token. Raises NotYet after 5 seconds.
    """
    issued = await open_receipt(ctx, token)
    event_ids = {
        outcome.event_id
        for outcome in issued.receipt.outcomes
        if outcome.status in RECORDED and outcome.event_id is not None
    }
    if await wait_for_events(ctx, event_ids, published=published):
        raise NotYet


async def wait_for_events(
    ctx: Context, event_ids: set[str], *, published: bool = False, max_seconds: float = WAIT_TIMEOUT_SECONDS
) -> set[str]:
    """Wait until the events are folded, or with `published` published, and return those that are not in time.

    Checks again after 10 ms, then after longer pauses, for `max_seconds` at most and 5 seconds at most.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + min(max_seconds, WAIT_TIMEOUT_SECONDS)
    pause_seconds, is_first, remaining = MIN_PAUSE_SECONDS, True, event_ids
    while remaining := await _find_unfinished(ctx, remaining, published=published, wake=is_first):
        if clock() + pause_seconds > deadline:
            break
        await asyncio.sleep(pause_seconds)
        pause_seconds, is_first = min(pause_seconds * 1.5, MAX_PAUSE_SECONDS), False
    return remaining


async def find_unfolded(ctx: Context, event_ids: set[str]) -> set[str]:
    """Return those of the events that are not folded now. One round trip."""
    states = await ctx.workspace.fold_states.read(event_ids) if event_ids else {}
    return {event_id for event_id, state in states.items() if not state.folded}


async def _find_unfinished(ctx: Context, event_ids: set[str], *, published: bool, wake: bool) -> set[str]:
    """Return the events that are not folded, or with `published` not published. With `wake`, wake their stages."""
    if not event_ids:
        return set()
    states = await ctx.workspace.fold_states.read(event_ids)
    pending = {event_id for event_id, state in states.items() if not state.folded}
    if pending and wake:
        ctx.resources.wake_fold(ctx.workspace.id, {states[each].pass_id for each in pending})
    if not published:
        return pending
    folded = {event_id: state for event_id, state in states.items() if state.folded}
    unpublished = await ctx.workspace.fold_states.unpublished(folded) if folded else set()
    if unpublished and wake:
        ctx.resources.bus.wake("publish", ctx.workspace.id)
    return pending | unpublished
