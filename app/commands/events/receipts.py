"""Calls that record events, with idempotency keys and receipts.

A call claims its key for the hash of its body before it records anything, and stores its receipt afterwards. So two
different bodies never record under one key. If the process crashes in between, the claim has no receipt. Then a
repeated call finds its own events by their ids: stored ones are DUPLICATE, the rest is recorded. Of concurrent calls,
the first receipt stored is the answer of all.
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
_MAX_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class IssuedReceipt:
    """Receipt and the token that stands for it."""

    token: str
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """Outcome of a call, and its receipt if one is stored already."""

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
    """Record 1 to 1,000 items and return their outcomes in input order. Safe to repeat as `record_events` is.

    A call with the same key and body within 24 hours returns the first receipt and outcomes, with CREATED replaced by
    DUPLICATE. If a call records nothing, its key is released. Raises Conflict for a key that another call has claimed.
    Raises Refused and Unavailable.
    """
    if idempotency_key is None:
        return RecordedCall(await record_events(ctx, items, atomic=atomic, create_missing_passes=create_missing_passes))
    key = parse_text(idempotency_key, "idempotencyKey")
    check_size(items)
    body = body_hash(await ctx.secret(), items, atomic=atomic, create_missing_passes=create_missing_passes)
    claim, is_new = await _claim_key(ctx, request_key_id(ctx.workspace.id, key), body)
    previous = None if is_new else await _read_receipt(ctx, claim.receipt_id)
    if previous is not None:
        return await _outcome_of_repeat(ctx, previous)
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
    issued = await _store_receipt(ctx, claim.receipt_id, _build_receipt(outcome))
    if issued is not None:
        return RecordedCall(outcome, issued)
    first = await _read_receipt(ctx, claim.receipt_id)
    if first is None:
        raise Unavailable("store")
    return await _outcome_of_repeat(ctx, first)


async def receipt_of(ctx: Context, answer: RecordedCall) -> IssuedReceipt:
    """Return the receipt of a call. A large receipt that is not stored yet is stored first, in one write.

    Raises Unavailable; recorded events stay recorded.
    """
    if answer.issued is not None:
        return answer.issued
    receipt = _build_receipt(answer.outcome)
    data = pack_receipt(receipt)
    if len(data) <= MAX_CARRIED_BYTES:
        return IssuedReceipt(issue_carrying_token(await ctx.secret(), data), receipt)
    issued = await _store_receipt(ctx, new_id("receipt"), receipt)
    if issued is None:
        raise Unavailable("store")
    return issued


async def find_receipt(ctx: Context, token: str) -> IssuedReceipt | None:
    """Return the receipt of a token; None if the token is of another workspace or the receipt expired after 30 days."""
    opened = open_token(await ctx.secret(), token)
    if opened is None or opened.stored_id is None:
        return None if opened is None or opened.receipt is None else IssuedReceipt(token, opened.receipt)
    return await _read_receipt(ctx, opened.stored_id)


async def _claim_key(ctx: Context, key_id: str, body: bytes) -> tuple[Claim, bool]:
    """Return the claim that holds the key, and whether this call made it."""
    keys = ctx.workspace.request_keys
    for _ in range(_MAX_ATTEMPTS):
        now = await SystemClock().now()
        new = Claim(key_id=key_id, body=body, receipt_id=new_id("receipt"), expires_at=now + IDEMPOTENCY_KEY_TTL)
        current = await keys.claim(new)
        if current is not None and current.expires_at > now:
            if current.body != body:
                message = "Another call has used this key in the last 24 hours; send that call again, or another key."
                raise Conflict(message, "idempotencyKey")
            return current, current is new
        if current is not None:
            await keys.release(current)
    raise Unavailable("store")


async def _store_receipt(ctx: Context, receipt_id: str, receipt: Receipt) -> IssuedReceipt | None:
    """Store a receipt and return it; None if another receipt is stored under the id."""
    # Receipts expire by system time: a manual business clock must not change how long they are kept.
    expires_at = await SystemClock().now() + RECEIPT_TTL
    if not await ctx.workspace.receipts.insert(receipt_id, pack_receipt(receipt), expires_at):
        return None
    return IssuedReceipt(issue_naming_token(await ctx.secret(), receipt_id), receipt)


async def _read_receipt(ctx: Context, receipt_id: str) -> IssuedReceipt | None:
    data = await ctx.workspace.receipts.get(receipt_id)
    return (
        None
        if data is None
        else IssuedReceipt(issue_naming_token(await ctx.secret(), receipt_id), unpack_receipt(data))
    )


async def _outcome_of_repeat(ctx: Context, issued: IssuedReceipt) -> RecordedCall:
    """Return the outcomes of a receipt, with CREATED replaced by DUPLICATE, or by REJECTED for a removed event."""
    outcomes = issued.receipt.outcomes
    events = await ctx.workspace.events.get_many(
        [outcome.event_id for outcome in outcomes if outcome.event_id is not None]
    )
    results = []
    for index, outcome in enumerate(outcomes):
        event = None if outcome.event_id is None else events.get(outcome.event_id)
        if outcome.status not in RECORDED:
            results.append(ItemResult(index=index, status=outcome.status, event=event, problems=outcome.problems))
        elif event is None:
            results.append(ItemResult(index=index, status=RecordStatus.REJECTED, event=None, problems=(REMOVED,)))
        else:
            results.append(ItemResult(index, RecordStatus.DUPLICATE, event))
    return RecordedCall(BatchOutcome(results, issued.receipt.recorded_at), issued)


def _build_receipt(outcome: BatchOutcome) -> Receipt:
    results = outcome.results
    return Receipt(
        outcome.at,
        tuple(
            ItemOutcome(result.status, None if result.event is None else result.event.id, result.problems)
            for result in results
        ),
    )
