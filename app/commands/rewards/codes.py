"""Codes of redemptions: a redemption claims one before its event is recorded, and gives it back if it is declined."""

from __future__ import annotations

from app.clock import system_ms
from app.commands.context import Context
from app.domain.errors import Code, Conflict
from app.domain.events.events import Event
from app.domain.ids import redemption_id
from app.domain.rewards.codes import make_code
from app.domain.rewards.redemptions import MAX_CODE_ATTEMPTS, reward_of
from app.store.workspace.workspace import Workspace


async def claim_code(ctx: Context, pattern: str | None, redeemed: str, pass_id: str) -> str | None:
    """Claim a code that no other redemption has, and return it; None without a pattern.

    Safe to repeat. Raises Conflict if each code that it asked for is taken.
    """
    if pattern is None:
        return None
    secret = await ctx.secret()
    for attempt in range(MAX_CODE_ATTEMPTS):
        code = make_code(pattern, secret, redeemed, attempt)
        if await ctx.workspace.codes.claim(code, redeemed, pass_id, system_ms=system_ms()):
            return code
    message = "The codes of this reward's pattern are nearly used up; give it a pattern with more random characters."
    raise Conflict(message, "rewardKey", code=Code.LIMIT)


async def free_code(workspace: Workspace, event: Event) -> None:
    """Let another redemption claim the code of this one, which was declined. Safe to repeat. Raises Unavailable."""
    reward = reward_of(event)
    if reward is not None and reward.code is not None:
        await workspace.codes.free([(workspace.codes.id_of(reward.code), redemption_id(event.id))])
