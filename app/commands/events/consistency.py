"""Reading one's own writes: waiting until the events of a receipt are folded, or published in the feed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

from app.commands.context import Context
from app.domain.errors import Code, InvalidInput, NotYet
from app.domain.events.receipts import RECORDED
from app.resources import Resources
from app.shared_looks import SharedLook
from app.store.workspace.receipts import FoldState
from app.store.workspace.workspace import Workspace

from .receipts import IssuedReceipt, find_receipt

WAIT_TIMEOUT_SECONDS = 5.0


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

    It lasts `max_seconds` at most and 5 seconds at most. All callers of a process that wait for the same workspace share
    the reads.
    """
    looks, key = ctx.resources.looks, (ctx.workspace.id, published)
    look = looks.get(key)
    if look is None:
        find_done = partial(_find_done, ctx.workspace, ctx.resources, published)
        look = looks[key] = SharedLook(find_done, when_idle=partial(looks.pop, key, None))
    return await look.wait(event_ids, min(max_seconds, WAIT_TIMEOUT_SECONDS))


async def find_unfolded(ctx: Context, event_ids: set[str]) -> set[str]:
    """Return those of the events that are not folded now. One round trip, or two if some are pending."""
    states = await ctx.workspace.fold_states.read(event_ids) if event_ids else {}
    return set(await _find_pending(ctx.workspace, states))


async def _find_done(
    workspace: Workspace, resources: Resources, published: bool, event_ids: Collection[str], new_ids: Collection[str]
) -> set[str]:
    """Return the events that are folded, or with `published` published. Wake the stages of the others in `new_ids`."""
    states = await workspace.fold_states.read(event_ids)
    pending = await _find_pending(workspace, states)
    if woken := {states[each].pass_id for each in pending if each in new_ids}:
        resources.wake_fold(workspace.id, woken)
    if not published:
        return set(event_ids) - pending
    folded = {event_id: state for event_id, state in states.items() if event_id not in pending}
    unpublished = await workspace.fold_states.unpublished(folded) if folded else set()
    if not unpublished.isdisjoint(new_ids):
        resources.bus.wake("publish", workspace.id)
    return set(event_ids) - pending - unpublished


async def _find_pending(workspace: Workspace, states: Mapping[str, FoldState]) -> set[str]:
    """Return the events that are not counted in their pass yet.

    An event that is marked as pending counts nevertheless if it is among the last that its pass has counted.
    """
    pending = {event_id: state.pass_id for event_id, state in states.items() if not state.folded}
    if not pending:
        return set()
    passes = await workspace.outboxes.evaluated(set(pending.values()))
    return {
        event_id
        for event_id, pass_id in pending.items()
        if pass_id not in passes or event_id not in passes[pass_id].last_folded_ids
    }
