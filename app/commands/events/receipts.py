"""Calls that record: one that is repeated under its key is answered again, and each can be asked about by its receipt.

A key is claimed for the call's body before anything is recorded, and its receipt is stored after: so two bodies can never
record under one key, and nothing is lost or doubled by a death in between. The claim then stands without a receipt, and
the same call, repeated, goes through the permanent identities: what was stored is DUPLICATE, the rest is recorded now.
Calls at the same time do just that; the first receipt that is stored is everybody's answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from app.clock import SystemClock
from app.commands.context import Context
from app.domain.errors import Conflict, Denied, Refused, Unavailable
from app.domain.events.events import EventInput
from app.domain.events.receipts import (
    MAX_CARRIED_BYTES,
    RECORDED,
    ItemOutcome,
    Receipt,
    RecordStatus,
    body_hash,
    issue_carrying_token,
    issue_naming_token,
    open_token,
    pack_receipt,
    unpack_receipt,
)
from app.domain.ids import request_key_id
from app.domain.values.text import parse_text
from app.store.mongo.ids import new_id
from app.store.workspace.receipts import Claim

from .outcomes import REMOVED, BatchOutcome, ItemResult
from .record import check_size, record_events

IDEMPOTENCY_KEY_TTL = timedelta(hours=24)
RECEIPT_TTL = timedelta(days=30)
_MAX_TRIES = 3


@dataclass(frozen=True, slots=True)
class IssuedReceipt:
    """A receipt and the token that stands for it."""

    token: str
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """What became of the items of a call; and its receipt, where it has one before anybody asks for it."""

    outcome: BatchOutcome
    issued: IssuedReceipt | None = None


async def record_call(
    ctx: Context,
    items: Sequence[EventInput],
    *,
    atomic: bool = False,
    create_missing_passes: bool = False,
    idempotency_key: object = None,
) -> RecordedCall:
    """What became of each of 1 to 1,000 items, in input order.

    The same call under the same key is answered again for 24 hours: the fates and the receipt are the first ones, and what
    was recorded then says DUPLICATE, as every repeat does. A call of which nothing was recorded lets go of its key.
    Safe to repeat as `record_events` is. Raises Conflict for a key that another call holds, Refused, Unavailable.
    """
    if idempotency_key is None:
        return RecordedCall(await record_events(ctx, items, atomic=atomic, create_missing_passes=create_missing_passes))
    key = parse_text(idempotency_key, "idempotencyKey")
    check_size(items)
    body = body_hash(await ctx.secret(), items, atomic=atomic, create_missing_passes=create_missing_passes)
    claim, is_new = await _claim_key(ctx, request_key_id(ctx.workspace.id, key), body)
    before = None if is_new else await _stored(ctx, claim.receipt_id)
    if before is not None:
        return await _repeat_outcome(ctx, before)
    try:
        outcome = await record_events(
            ctx, items, atomic=atomic, create_missing_passes=create_missing_passes, idempotency_key=key
        )
    except (Denied, Refused):
        await ctx.workspace.request_keys.release(claim)
        raise
    if not outcome.created and not outcome.duplicate:
        await ctx.workspace.request_keys.release(claim)
        return RecordedCall(outcome)
    mine = await _store(ctx, claim.receipt_id, _receipt(outcome))
    if mine is not None:
        return RecordedCall(outcome, mine)
    first = await _stored(ctx, claim.receipt_id)
    if first is None:
        raise Unavailable("store")
    return await _repeat_outcome(ctx, first)


async def receipt_of(ctx: Context, answer: RecordedCall) -> IssuedReceipt:
    """The receipt of a call. One write for a large one that has none yet, and durable when it is returned.

    Raises Unavailable: what was recorded stays recorded.
    """
    if answer.issued is not None:
        return answer.issued
    receipt = _receipt(answer.outcome)
    data = pack_receipt(receipt)
    if len(data) <= MAX_CARRIED_BYTES:
        return IssuedReceipt(issue_carrying_token(await ctx.secret(), data), receipt)
    issued = await _store(ctx, new_id("receipt"), receipt)
    if issued is None:
        raise Unavailable("store")
    return issued


async def find_receipt(ctx: Context, token: str) -> IssuedReceipt | None:
    """The receipt that a token stands for; None for what is no token of this workspace, or was forgotten after 30 days."""
    held = open_token(await ctx.secret(), token)
    if held is None or held.stored_id is None:
        return None if held is None or held.receipt is None else IssuedReceipt(token, held.receipt)
    return await _stored(ctx, held.stored_id)


async def _claim_key(ctx: Context, key_id: str, body: bytes) -> tuple[Claim, bool]:
    """The claim under which the call goes on, and whether it was made now."""
    keys = ctx.workspace.request_keys
    for _ in range(_MAX_TRIES):
        now = await SystemClock().now()
        mine = Claim(key_id, body, new_id("receipt"), now + IDEMPOTENCY_KEY_TTL)
        held = await keys.claim(mine)
        if held is not None and held.expires_at > now:
            if held.body != body:
                said = "This key belongs to another call of the last 24 hours; send that call again, or another key."
                raise Conflict(said, "idempotencyKey")
            return held, held is mine
        if held is not None:
            await keys.release(held)
    raise Unavailable("store")


async def _store(ctx: Context, receipt_id: str, receipt: Receipt) -> IssuedReceipt | None:
    """The receipt, stored; None where another one is stored under the id."""
    # What is kept for a while is about calls and machines: its end is the system's, whatever the business clock says.
    until = await SystemClock().now() + RECEIPT_TTL
    if not await ctx.workspace.receipts.insert(receipt_id, pack_receipt(receipt), until):
        return None
    return IssuedReceipt(issue_naming_token(await ctx.secret(), receipt_id), receipt)


async def _stored(ctx: Context, receipt_id: str) -> IssuedReceipt | None:
    data = await ctx.workspace.receipts.get(receipt_id)
    return (
        None
        if data is None
        else IssuedReceipt(issue_naming_token(await ctx.secret(), receipt_id), unpack_receipt(data))
    )


async def _repeat_outcome(ctx: Context, issued: IssuedReceipt) -> RecordedCall:
    fates = issued.receipt.outcomes
    events = await ctx.workspace.events.get_many([fate.event_id for fate in fates if fate.event_id is not None])
    results = []
    for index, fate in enumerate(fates):
        event = None if fate.event_id is None else events.get(fate.event_id)
        if fate.status not in RECORDED:
            results.append(ItemResult(index, fate.status, event, fate.problems))
        elif event is None:
            results.append(ItemResult(index, RecordStatus.REJECTED, None, (REMOVED,)))
        else:
            results.append(ItemResult(index, RecordStatus.DUPLICATE, event))
    return RecordedCall(BatchOutcome(results, issued.receipt.recorded_at), issued)


def _receipt(outcome: BatchOutcome) -> Receipt:
    results = outcome.results
    return Receipt(
        outcome.at,
        tuple(ItemOutcome(r.status, None if r.event is None else r.event.id, r.problems) for r in results),
    )
