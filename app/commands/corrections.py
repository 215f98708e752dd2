"""What corrections name: the originals of a batch, looked up once."""

from __future__ import annotations

from collections.abc import Mapping

from app.domain.corrections import FIELD, corrected
from app.domain.errors import Code, Problem, Refused
from app.domain.events import Draft

from .context import Context


async def beside_originals(
    ctx: Context, drafts: Mapping[int, Draft], pass_ids: Mapping[int, str | None]
) -> tuple[dict[int, Draft], dict[int, tuple[Problem, ...]]]:
    """The corrections among the drafts as they count beside their originals, and what speaks against the others.

    Asks the store once for all of them, and not at all where nothing is corrected. Drafts without a pass are left out.
    """
    counted: dict[int, Draft] = {}
    against: dict[int, tuple[Problem, ...]] = {}
    named = {draft.correction_of for draft in drafts.values()} - {None}
    stored = await ctx.workspace.events.stored([each for each in named if each is not None]) if named else {}
    for index, draft in drafts.items():
        pass_id = pass_ids[index]
        if draft.correction_of is None or pass_id is None:
            continue
        original = stored.get(draft.correction_of)
        if original is not None and original.event is None:
            removed = "The event that it corrects was removed, and counts for nothing."
            against[index] = (Problem(Code.EVENT_REMOVED, removed, (FIELD,)),)
            continue
        try:
            counted[index] = corrected(draft, None if original is None else original.event, pass_id)
        except Refused as refused:
            against[index] = refused.problems
    return counted, against
