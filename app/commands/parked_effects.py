"""retryParkedEffects: let the stage `react` make effects outside passes again that were refused or failed."""

from __future__ import annotations

from collections.abc import Sequence

from app.clock import system_ms
from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.domain.errors import Code, InvalidInput
from app.domain.reactions.parked import ParkedQuery
from app.domain.values.instants import to_ms
from app.store.mongo.paging import PageRequest

MAX_RETRIED_IDS = 1_000
"""Effects that one call of retryParkedEffects names."""
MAX_RETRIED = 10_000
"""Effects of one kind that one call of retryParkedEffects makes again."""
RETRY_PAGE_SIZE = 500


async def retry_parked_effects(ctx: Context, *, ids: Sequence[str | None] | None, kind: str | None) -> int:
    """Let parked effects be made now, and return how many: those with the ids, or those of a kind that failed last.

    An id of an effect that is not parked (any more) is left out. Safe to repeat: an effect is made once. Raises InvalidInput
    and Unavailable.
    """
    if (ids is None) == (kind is None):
        raise InvalidInput(Code.INVALID, "Name effects by exactly one of ids and kind.", "ids")
    if ids is not None and not 0 < len(ids) <= MAX_RETRIED_IDS:
        code = Code.TOO_MANY if ids else Code.REQUIRED
        raise InvalidInput(code, f"Name 1 to {MAX_RETRIED_IDS:,} effects.", "ids")
    named = await _find_of_kind(ctx, kind) if kind is not None else [each for each in ids or () if each is not None]
    await record_audit_entry(ctx, "retryParkedEffects", "Workspace", ctx.workspace.id, count=str(len(named)))
    count = await ctx.workspace.reactions.requeue_ids(named, system_ms())
    await wake_react(ctx)
    return count


async def _find_of_kind(ctx: Context, kind: str) -> list[str]:
    found: list[str] = []
    query, after, has_more = ParkedQuery(kinds=(kind,)), None, True
    while has_more and len(found) < MAX_RETRIED:
        page = await ctx.workspace.reactions.page(query, PageRequest(RETRY_PAGE_SIZE, after=after))
        found += [each.reaction.id for each in page.items]
        has_more = page.has_more
        after = (to_ms(page.items[-1].at), page.items[-1].reaction.id) if page.items else None
    return found


async def wake_react(ctx: Context) -> None:
    """Announce that parked reactions of the workspace are due, and wake the workers. Safe to repeat. Raises Unavailable."""
    await ctx.workspace.reactions.announce_work(system_ms())
    ctx.resources.bus.wake("react", ctx.workspace.id)
