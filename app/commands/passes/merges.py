"""mergePasses: one pass goes on as a part of another, which answers for both."""

from __future__ import annotations

from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.domain.errors import Code, Conflict, InvalidInput, LimitExceeded, NotFound, Unavailable
from app.domain.events.tombstones import Tombstone
from app.domain.ids import slot_of
from app.domain.passes.merges import MAX_ALIASES
from app.domain.passes.passes import Pass
from app.flow import range_of

_MAX_TRIES = 10


async def merge_passes(ctx: Context, survivor_id: str, merged_id: str) -> Pass:
    """The pass that answers for both from now on; its totals follow as the fold counts the other's events.

    Safe to repeat. Raises NotFound, InvalidInput for a pass and itself, Conflict where one of them is being erased, goes
    into a third, or would go into itself by way of others, LimitExceeded beyond 100, Unavailable.
    """
    cards = await ctx.workspace.passes.get_many([survivor_id, merged_id])
    for field, pass_id in (("survivorId", survivor_id), ("mergedId", merged_id)):
        if pass_id not in cards:
            raise NotFound("pass", field)
    survivor, merged = cards[survivor_id], cards[merged_id]
    if survivor.id == merged.id:
        if survivor_id == merged_id:
            raise InvalidInput(Code.INVALID, "A pass is not merged into itself; name two.", "mergedId")
        return survivor
    aliases = await ctx.workspace.passes.aliases([survivor.id, merged.id])
    if sum(map(len, aliases.values())) >= MAX_ALIASES:
        raise LimitExceeded(f"A pass answers for at most {MAX_ALIASES} others.", "survivorId")
    removals = ctx.workspace.removals
    for field, card in (("survivorId", survivor), ("mergedId", merged)):
        if await removals.erasure(card.id) is not None:
            raise Conflict("This pass is being erased.", field)
    await record_audit_entry(ctx, "mergePasses", "Pass", merged.id, into=survivor.id)
    for _ in range(_MAX_TRIES):
        # The rank is read first: a merge that was not seen by what is read after it takes that rank away.
        rank = await removals.merge_rank()
        if merged.id in await removals.merges(survivor.id):
            raise Conflict("The pass that is to answer for both is itself merged into the other one.", "mergedId")
        going = await removals.merges(merged.id)
        if going and going[0] != survivor.id:
            raise Conflict("This pass is being merged into a third one.", "mergedId")
        if not going:
            tombstone = Tombstone(merged.id, None, await ctx.now(), into=survivor.id, rank=rank + 1)
            if await removals.insert([tombstone], ctx.origin):
                continue
        ctx.resources.cache.forget_pass(ctx.workspace.id, merged.id, merged.external_id)
        ctx.resources.bus.wake("fold", range_of(slot_of(merged.id)))
        return survivor
    raise Unavailable("store")
