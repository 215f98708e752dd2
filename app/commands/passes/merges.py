"""mergePasses: merge a pass into another one, the survivor."""

from __future__ import annotations

import contextlib

from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.domain.errors import Code, Conflict, InvalidInput, LimitExceeded, NotFound, Unavailable
from app.domain.events.tombstones import Tombstone
from app.domain.passes.merges import MAX_ALIASES
from app.domain.passes.passes import Pass
from app.store.mongo.read_order import reading_in_order

_MAX_ATTEMPTS = 10


async def merge_passes(ctx: Context, survivor_id: str, merged_id: str) -> Pass:
    """Merge a pass into the survivor and return the survivor. Its totals change as the fold counts the moved events.

    Safe to repeat. Raises NotFound, and InvalidInput if both ids name one pass. Raises Conflict if one of the passes is
    being erased, or if the merged pass is being merged into a third one. Raises Conflict if the merge would form a
    cycle, LimitExceeded above 100 aliases, and Unavailable.
    """
    cards = await ctx.workspace.passes.get_many([survivor_id, merged_id])
    for field, pass_id in (("survivorId", survivor_id), ("mergedId", merged_id)):
        if pass_id not in cards:
            raise NotFound("pass", field)
    survivor, merged = cards[survivor_id], cards[merged_id]
    if survivor.id == merged.id:
        if survivor_id == merged_id:
            raise InvalidInput(Code.INVALID, "A pass cannot be merged into itself; name two passes.", "mergedId")
        return survivor
    if survivor.gift_currency != merged.gift_currency:
        message = "A gift card is merged only with gift cards of its currency: its balance would be lost."
        raise Conflict(message, "mergedId")
    aliases = await ctx.workspace.passes.aliases([survivor.id, merged.id])
    if sum(map(len, aliases.values())) >= MAX_ALIASES:
        raise LimitExceeded(f"At most {MAX_ALIASES} passes can be merged into one.", "survivorId")
    removals = ctx.workspace.removals
    for field, card in (("survivorId", survivor), ("mergedId", merged)):
        if await removals.erasure(card.id) is not None:
            raise Conflict("This pass is being erased and cannot be merged.", field)
    await record_audit_entry(ctx, "mergePasses", "Pass", merged.id, into=survivor.id)
    for _ in range(_MAX_ATTEMPTS):
        # On a sharded store, the tombstones of merges may lie on other shards than their number.
        with reading_in_order() if ctx.resources.is_sharded else contextlib.nullcontext():
            is_requested = await _request_merge(ctx, survivor, merged)
        if is_requested:
            ctx.resources.cache.forget_pass(ctx.workspace.id, merged.id, merged.external_id)
            ctx.resources.wake_fold(ctx.workspace.id, [merged.id])
            return survivor
    raise Unavailable("store")


async def _request_merge(ctx: Context, survivor: Pass, merged: Pass) -> bool:
    """Request a merge, and return whether it is requested. If not, another merge was decided meanwhile. Raises Conflict."""
    removals = ctx.workspace.removals
    # Read the number of merges before checking for cycles. A merge that is decided after the checks changes it, so this
    # decision fails and the checks are repeated.
    decided = await removals.complete_merge()
    if merged.id in await removals.merges(survivor.id):
        raise Conflict("The survivor is itself being merged into the other pass.", "mergedId")
    pending_merges = await removals.merges(merged.id)
    if pending_merges and pending_merges[0] != survivor.id:
        raise Conflict("This pass is being merged into a third pass; repeat in a moment.", "mergedId")
    if pending_merges:
        return True
    await ctx.workspace.passes.close_name(merged)
    tombstone = Tombstone(merged.id, None, await ctx.now(), into=survivor.id)
    return await removals.decide_merge(tombstone, ctx.origin, decided)
