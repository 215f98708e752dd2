"""Removing events and erasing passes: tombstones are inserted, and the fold does the rest."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.errors import Code, InvalidInput, NotFound
from app.domain.events import INTERNAL_TYPES, Event
from app.domain.ids import slot_of
from app.domain.passes import Pass
from app.domain.removals import Erasure, Tombstone
from app.flow import range_of

from .audit import note
from .context import Context


async def remove_events(ctx: Context, events: Sequence[Event]) -> int:
    """How many of at most 1,000 events are removed by this call. What Punchcard recorded itself stays.

    Safe to repeat: in a job (`ctx.batch`), what the same batch removed before is counted again.
    """
    now = await ctx.now()
    found = [event for event in events if event.type not in INTERNAL_TYPES]
    taken = await ctx.workspace.removals.insert([Tombstone(e.pass_id, e.id, now) for e in found], ctx.origin)
    removed = len(found) - len(taken)
    if taken and ctx.batch is not None:
        batches = await ctx.workspace.removals.batches([found[place].id for place in taken])
        removed += sum(batch == ctx.batch for batch in batches.values())
    ctx.resources.bus.wake("fold", *{range_of(slot_of(event.pass_id)) for event in found})
    return removed


async def erase_pass(
    ctx: Context, *, pass_id: str | None = None, external_id: str | None = None, dry_run: bool = False
) -> Erasure:
    """How far the erasure of a pass is, which is asked for by this unless it was before; named by one of its two ids.

    With `dry_run` nothing is done, and what would be is told. Safe to repeat by id; the external id is free again, for
    another pass, once the fold has come to it. Raises InvalidInput, NotFound, Unavailable.
    """
    if (pass_id is None) == (external_id is None):
        raise InvalidInput(Code.INVALID, "Name the pass by exactly one of id and externalId.", "id")
    removals, passes = ctx.workspace.removals, ctx.workspace.passes
    card = await (passes.by_external_id(external_id) if external_id is not None else passes.get(pass_id or ""))
    asked = None if pass_id is None else await removals.erasure(pass_id)
    if card is None:
        if asked is None:
            raise NotFound("pass", "id" if external_id is None else "externalId")
        return asked
    if dry_run:
        return _foreseen(card)
    await note(ctx, "erasePass", "Pass", card.id)
    await removals.insert([Tombstone(card.id, None, await ctx.now())], ctx.origin)
    ctx.resources.known.forget(ctx.workspace.id, card.id, card.external_id)
    ctx.resources.bus.wake("fold", range_of(slot_of(card.id)))
    return asked or Erasure(card.id)


def _foreseen(card: Pass) -> Erasure:
    rows = card.aggregates.values()
    # The lines of leaving every segment, and the last one, come on top.
    activities = card.n + len(card.memberships) + 1
    return Erasure(
        card.id, None, sum(row.count for row in rows), len(rows), tuple(card.memberships), activities
    )  # fmt: skip
