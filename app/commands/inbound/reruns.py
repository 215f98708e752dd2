"""Failed messages of inbound hooks: an operator or a worker runs them again, or an operator deletes them."""

from __future__ import annotations

from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.domain.errors import Code, InvalidInput, NotFound
from app.domain.inbound.deliveries import DeliveryStatus, InboundDelivery
from app.domain.inbound.hooks import InboundHook
from app.resources import Resources
from app.store.mongo.paging import Key, PageRequest

from .deliveries import attempt_delivery, hook_context
from .hooks import find_live_hook

MAX_RERUNS = 100
"""Deliveries that one call runs again."""


async def rerun_inbound_delivery(ctx: Context, delivery_id: str) -> InboundDelivery:
    """Map and record the failed items of a delivery again, with the hook's current mapping, and return the delivery.

    Safe to repeat: recorded events and processed deliveries stay unchanged. Raises NotFound, Conflict for an archived
    hook, and Unavailable.
    """
    delivery = (await ctx.workspace.inbound.get_many([delivery_id])).get(delivery_id)
    if delivery is None:
        raise NotFound("delivery", "id")
    hook = await find_live_hook(ctx, delivery.hook_id, "id")
    await record_audit_entry(ctx, "rerunInboundDelivery", "InboundDelivery", delivery_id)
    return await _rerun(ctx, hook, delivery)


async def rerun_inbound_deliveries(
    ctx: Context, hook_id: str, limit: int = MAX_RERUNS, after: Key | None = None
) -> tuple[list[InboundDelivery], bool]:
    """Run up to `limit` failed deliveries of a hook again, the oldest first; return them and whether more follow.

    `after` is the key of the last delivery of the previous call: (received ms, id). Safe to repeat. Raises
    InvalidInput, NotFound, and Conflict for an archived hook. Raises Unavailable; earlier deliveries of the call are
    then done.
    """
    if not 1 <= limit <= MAX_RERUNS:
        raise InvalidInput(Code.OUT_OF_RANGE, f"`first` must be from 1 to {MAX_RERUNS}.", "first")
    hook = await find_live_hook(ctx, hook_id, "hookId")
    # The list begins with the newest delivery, so read it backwards from its end.
    page = await ctx.workspace.inbound.page(
        hook_id, DeliveryStatus.FAILED, PageRequest(limit, before=after, backward=True)
    )
    await record_audit_entry(ctx, "rerunInboundDeliveries", "InboundHook", hook_id, count=str(len(page.items)))
    rerun = []
    for listed in reversed(page.items):
        # Bodies may be large, so only one is in memory at a time.
        with_body = await ctx.workspace.inbound.get_many([listed.id])
        if listed.id in with_body:
            rerun.append(await _rerun(ctx, hook, with_body[listed.id]))
    return rerun, page.has_more


async def discard_inbound_delivery(ctx: Context, delivery_id: str) -> str:
    """Delete a failed delivery with its body and return its id. Its events stay. Raises NotFound and Unavailable."""
    delivery = (await ctx.workspace.inbound.get_many([delivery_id])).get(delivery_id)
    if delivery is None or delivery.status is not DeliveryStatus.FAILED:
        raise NotFound("failed delivery", "id")
    await record_audit_entry(ctx, "discardInboundDelivery", "InboundDelivery", delivery_id)
    await ctx.workspace.inbound.discard(delivery_id)
    return delivery_id


async def rerun_waiting_delivery(resources: Resources, workspace_id: str, delivery_id: str) -> None:
    """Run a message again that waits for the event that it corrects, with the hook's current mapping. Safe to repeat.

    A worker calls this function, without an operator. A message of an archived hook is not run again. Raises Unavailable.
    """
    workspace = resources.workspace(workspace_id)
    delivery = (await workspace.inbound.get_many([delivery_id])).get(delivery_id)
    if delivery is None:
        return
    hook = (await workspace.hooks.get_many([delivery.hook_id])).get(delivery.hook_id)
    if hook is None or hook.archived_at is not None or delivery.status is DeliveryStatus.PROCESSED:
        await workspace.inbound.stop_reruns(delivery_id)
        return
    await attempt_delivery(hook_context(resources, hook), hook, delivery, keeps_expiry=True)


async def _rerun(ctx: Context, hook: InboundHook, delivery: InboundDelivery) -> InboundDelivery:
    if delivery.status is DeliveryStatus.PROCESSED:
        return delivery
    return (await attempt_delivery(hook_context(ctx.resources, hook), hook, delivery)).delivery
