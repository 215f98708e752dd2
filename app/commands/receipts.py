"""Recording with a receipt: a call that is repeated under its key is answered again, and every call can be asked about.

A key is claimed for the call's body before anything is recorded, and its receipt is stored after: so two bodies can never
record under one key, and nothing is lost or doubled by a death in between. The claim then stands without a receipt, and
the same call, repeated, goes through the permanent identities: what was stored is DUPLICATE, the rest is recorded now.
Calls at the same time do just that; the first receipt that is stored is everybody's answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.clock import SystemClock
from app.domain.errors import Code, Conflict, Denied, InvalidInput, NotYet, Refused, Unavailable
from app.domain.events import EventInput
from app.domain.ids import request_key_id, slot_of
from app.domain.receipts import (
    MAX_CARRIED_BYTES,
    RECORDED,
    Fate,
    Receipt,
    Status,
    body_hash,
    carrying,
    naming,
    opened,
    packed,
    unpacked,
)
from app.domain.texts import parse_text
from app.flow import range_of
from app.store.ids import new_id
from app.store.receipts import Claim

from .context import Context
from .record import REMOVED, ItemResult, Outcome, check_size, record_events

ANSWERED_AGAIN = timedelta(hours=24)
KEPT = timedelta(days=30)
PATIENCE_SECONDS = 5.0
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.01, 0.25
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Issued:
    """A receipt and the token that stands for it."""

    token: str
    receipt: Receipt


async def record_with_receipt(
    ctx: Context,
    items: Sequence[EventInput],
    *,
    atomic: bool = False,
    create_missing_passes: bool = False,
    idempotency_key: object = None,
) -> tuple[Outcome, Issued]:
    """What became of each of 1 to 1,000 items, in input order, and its receipt.

    The same call under the same key is answered again for 24 hours: the fates and the receipt are the first ones, and what
    was recorded then says DUPLICATE, as every repeat does. A call of which nothing was recorded lets go of its key.
    Safe to repeat as `record_events` is. Raises Conflict for a key that another call holds, Refused, Unavailable.
    """
    if idempotency_key is None:
        outcome = await record_events(ctx, items, atomic=atomic, create_missing_passes=create_missing_passes)
        return outcome, await _issued(ctx, _receipt(outcome))
    key = parse_text(idempotency_key, "idempotencyKey")
    check_size(items)
    secret = await ctx.secret()
    body = body_hash(secret, items, atomic=atomic, create_missing_passes=create_missing_passes)
    claim, is_new = await _claimed(ctx, request_key_id(ctx.workspace.id, key), body)
    data = None if is_new else await ctx.workspace.receipts.get(claim.receipt_id)
    if data is not None:
        return await _answered_again(ctx, Issued(naming(secret, claim.receipt_id), unpacked(data)))
    try:
        outcome = await record_events(
            ctx, items, atomic=atomic, create_missing_passes=create_missing_passes, idempotency_key=key
        )
    except (Denied, Refused):
        await ctx.workspace.request_keys.release(claim)
        raise
    receipt = _receipt(outcome)
    if not outcome.created and not outcome.duplicate:
        await ctx.workspace.request_keys.release(claim)
        return outcome, await _issued(ctx, receipt)
    if await ctx.workspace.receipts.insert(claim.receipt_id, packed(receipt), await _in(KEPT)):
        return outcome, Issued(naming(secret, claim.receipt_id), receipt)
    data = await ctx.workspace.receipts.get(claim.receipt_id)
    if data is None:
        raise Unavailable("store")
    return await _answered_again(ctx, Issued(naming(secret, claim.receipt_id), unpacked(data)))


async def find_receipt(ctx: Context, token: str) -> Issued | None:
    """The receipt that a token stands for; None for what is no token of this workspace, or was forgotten after 30 days."""
    held = opened(await ctx.secret(), token)
    if held is None or held.receipt is not None:
        return None if held is None or held.receipt is None else Issued(token, held.receipt)
    data = await ctx.workspace.receipts.get(held.stored_id or "")
    return None if data is None else Issued(token, unpacked(data))


async def await_counted(ctx: Context, token: str, *, told: bool = False) -> None:
    """Returns when the fold is done with the events of a receipt, and with `told` when the feed has what they brought about.

    Looks again after 10 ms, then ever less often. Raises InvalidInput for what is no token here, NotYet after 5 seconds.
    """
    issued = await find_receipt(ctx, token)
    if issued is None:
        raise InvalidInput(Code.UNKNOWN, "No such receipt in this workspace, or none any more.", "token")
    waiting = {f.event_id for f in issued.receipt.fates if f.status in RECORDED and f.event_id is not None}
    clock = asyncio.get_running_loop().time
    until, pause, first = clock() + PATIENCE_SECONDS, SHORTEST_PAUSE_SECONDS, True
    while waiting := await _behind(ctx, waiting, told=told, wake=first):
        if clock() + pause > until:
            raise NotYet
        await asyncio.sleep(pause)
        pause, first = min(pause * 1.5, LONGEST_PAUSE_SECONDS), False


async def _behind(ctx: Context, event_ids: set[str], *, told: bool, wake: bool) -> set[str]:
    standings = await ctx.workspace.standings.of(event_ids)
    pending = {event_id for event_id, standing in standings.items() if not standing.folded}
    if pending and wake:
        ctx.resources.bus.wake("fold", *{range_of(slot_of(standings[each].pass_id)) for each in pending})
    if not told:
        return pending
    folded = {event_id: standing for event_id, standing in standings.items() if standing.folded}
    untold = await ctx.workspace.standings.untold(folded) if folded else set()
    if untold and wake:
        ctx.resources.bus.wake("publish", ctx.workspace.id)
    return pending | untold


async def _claimed(ctx: Context, key_id: str, body: bytes) -> tuple[Claim, bool]:
    """The claim under which the call goes on, and whether it was made now."""
    keys = ctx.workspace.request_keys
    for _ in range(_TRIES):
        now = await SystemClock().now()
        mine = Claim(key_id, body, new_id("receipt"), now + ANSWERED_AGAIN)
        held = await keys.claim(mine)
        if held is not None and held.expires_at > now:
            if held.body != body:
                said = "This key belongs to another call of the last 24 hours; send that call again, or another key."
                raise Conflict(said, "idempotencyKey")
            return held, held is mine
        if held is not None:
            await keys.release(held)
    raise Unavailable("store")


async def _issued(ctx: Context, receipt: Receipt) -> Issued:
    secret, data = await ctx.secret(), packed(receipt)
    if len(data) <= MAX_CARRIED_BYTES:
        return Issued(carrying(secret, data), receipt)
    receipt_id = new_id("receipt")
    await ctx.workspace.receipts.insert(receipt_id, data, await _in(KEPT))
    return Issued(naming(secret, receipt_id), receipt)


async def _answered_again(ctx: Context, issued: Issued) -> tuple[Outcome, Issued]:
    fates = issued.receipt.fates
    events = await ctx.workspace.events.get_many([fate.event_id for fate in fates if fate.event_id is not None])
    results = []
    for index, fate in enumerate(fates):
        event = None if fate.event_id is None else events.get(fate.event_id)
        if fate.status not in RECORDED:
            results.append(ItemResult(index, fate.status, event, fate.problems))
        elif event is None:
            results.append(ItemResult(index, Status.REJECTED, None, (REMOVED,)))
        else:
            results.append(ItemResult(index, Status.DUPLICATE, event))
    return Outcome(results, issued.receipt.recorded_at), issued


def _receipt(outcome: Outcome) -> Receipt:
    results = outcome.results
    return Receipt(
        outcome.at,
        tuple(Fate(r.status, None if r.event is None else r.event.id, r.problems) for r in results),
    )


async def _in(time: timedelta) -> datetime:
    # What is kept for a while is about calls and machines: its end is the system's, whatever the business clock says.
    return await SystemClock().now() + time
