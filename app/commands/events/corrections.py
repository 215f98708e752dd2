"""What corrections name: the originals of a batch, looked up once."""

from __future__ import annotations

from collections.abc import Mapping

from app.commands.context import Context
from app.domain.errors import Code, Problem, Refused
from app.domain.events.corrections import FIELD, apply_correction
from app.domain.events.validation import Draft


async def resolve_corrections(
    ctx: Context, drafts: Mapping[int, Draft], pass_ids: Mapping[int, str | None]
) -> tuple[dict[int, Draft], dict[int, tuple[Problem, ...]]]:
    """The corrections among the drafts as they count beside their originals, and what speaks against the others.

    Asks the store once for all of them, and not at all where nothing is corrected; once more for originals on other
    passes, which may have been merged. Drafts without a pass are left out.
    """
    counted: dict[int, Draft] = {}
    against: dict[int, tuple[Problem, ...]] = {}
    named = {i: d.correction_of for i, d in drafts.items() if d.correction_of is not None and pass_ids[i] is not None}
    stored = await ctx.workspace.events.stored(list(named.values())) if named else {}
    on = {event_id: each.event.pass_id for event_id, each in stored.items() if each.event is not None}
    # Either may be the older view: this process may not have heard yet of a merge that whoever recorded knew.
    elsewhere = {
        pass_id
        for index, event_id in named.items()
        if event_id in on and on[event_id] != pass_ids[index]
        for pass_id in (on[event_id], pass_ids[index])
        if pass_id is not None
    }
    answering = await ctx.workspace.passes.existing(list(elsewhere)) if elsewhere else {}
    for index, event_id in named.items():
        original = stored.get(event_id)
        if original is not None and original.event is None:
            removed = "The event that it corrects was removed, and counts for nothing."
            against[index] = (Problem(Code.EVENT_REMOVED, removed, (FIELD,)),)
            continue
        here = event_id in on and _is_one(on[event_id], pass_ids[index], answering)
        try:
            counted[index] = apply_correction(drafts[index], original.event if original is not None and here else None)
        except Refused as refused:
            against[index] = refused.problems
    return counted, against


def _is_one(pass_id: str, other_id: str | None, answering: Mapping[str, str]) -> bool:
    """Whether the two are one pass by now."""
    heir = answering.get(pass_id)
    return pass_id == other_id or (heir is not None and other_id is not None and heir == answering.get(other_id))
