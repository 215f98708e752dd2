"""confirmPass and recordReferral: what a customer did, recorded as events of built-in types."""

from __future__ import annotations

from dataclasses import replace

from app.commands.context import Context
from app.commands.events.receipts import RecordedCall
from app.commands.events.recorded_once import record_once
from app.domain.errors import Code, InvalidInput, NotFound
from app.domain.events.events import FRIEND_REFERRED, OWN_SOURCE, PASS_CONFIRMED, PASS_REFERRED, Category
from app.domain.events.own_events import own_event
from app.domain.ids import confirmation_id, event_id, outward_id, referral_id
from app.domain.values.text import parse_optional


async def confirm_pass(ctx: Context, pass_id: str) -> RecordedCall:
    """Record that the customer confirmed the own data. Safe to repeat: a pass is confirmed once.

    Raises NotFound, Refused if the confirmation was removed, and Unavailable.
    """
    survivor_id = await _find_pass(ctx, pass_id, "passId")
    identity = confirmation_id(pass_id)
    event = own_event(
        identity, survivor_id, PASS_CONFIRMED, at=await ctx.now(), origin=ctx.origin, category=Category.ACTIVITY
    )
    return await record_once(ctx, [event], {"pass": pass_id}, "passId")


async def record_referral(ctx: Context, pass_id: str, referred_by: str, external_id: object = None) -> RecordedCall:
    """Record that a customer joined because another one recommended it: one event on the pass of each.

    Without `external_id`, a pass recommends another one once. Safe to repeat. Raises NotFound, InvalidInput, Conflict for
    another referral with the external id, Refused if the referral was removed, and Unavailable.
    """
    name = parse_optional(external_id, "externalId")
    joined_id = await _find_pass(ctx, pass_id, "passId")
    referrer_id = await _find_pass(ctx, referred_by, "referredByPassId")
    if joined_id == referrer_id:
        raise InvalidInput(Code.INVALID, "Both ids name the same pass; name two passes.", "referredByPassId")
    identity = referral_id(pass_id, referred_by) if name is None else event_id(ctx.workspace.id, OWN_SOURCE, name)
    now = await ctx.now()
    joined = own_event(
        identity, joined_id, PASS_REFERRED,
        at=now, origin=ctx.origin, category=Category.ACTIVITY, metadata={"by": referrer_id},
    )  # fmt: skip
    referred = own_event(
        outward_id("event", identity, 0), referrer_id, FRIEND_REFERRED,
        at=now, origin=ctx.origin, category=Category.ACTIVITY, metadata={"pass": joined_id, "referral": identity},
    )  # fmt: skip
    sent = {"pass": pass_id, "by": referred_by}
    return await record_once(ctx, [replace(joined, external_id=name), referred], sent, "externalId")


async def _find_pass(ctx: Context, pass_id: str, field: str) -> str:
    """Return the pass that answers for this one. Raises NotFound."""
    survivor_id = (await ctx.workspace.passes.existing([pass_id])).get(pass_id)
    if survivor_id is None:
        raise NotFound("pass", field)
    return survivor_id
