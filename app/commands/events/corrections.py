"""Corrections of a batch, resolved against the events that they correct."""

from __future__ import annotations

from collections.abc import Mapping

from app.commands.context import Context
from app.domain.errors import Code, Problem, Refused
from app.domain.events.corrections import FIELD, apply_correction
from app.domain.events.validation import Draft


async def resolve_corrections(
    ctx: Context, drafts: Mapping[int, Draft], pass_ids: Mapping[int, str | None]
) -> tuple[dict[int, Draft], dict[int, tuple[Problem, ...]]]:
    """Return the corrections as they count beside their originals, and the problems of the others, by item index.

    One round trip if there are corrections; a second one if originals are on other passes, which may be merged. Drafts
    without a pass are left out.
    """
    counted: dict[int, Draft] = {}
    problems: dict[int, tuple[Problem, ...]] = {}
    original_ids = {
        i: d.correction_of for i, d in drafts.items() if d.correction_of is not None and pass_ids[i] is not None
    }
    stored = await ctx.workspace.events.stored(list(original_ids.values())) if original_ids else {}
    pass_of_original = {event_id: each.event.pass_id for event_id, each in stored.items() if each.event is not None}
    # Look up the survivors of both passes: either process may not have noticed a merge that the other one knew.
    other_pass_ids = {
        pass_id
        for index, event_id in original_ids.items()
        if event_id in pass_of_original and pass_of_original[event_id] != pass_ids[index]
        for pass_id in (pass_of_original[event_id], pass_ids[index])
        if pass_id is not None
    }
    survivors = await ctx.workspace.passes.existing(list(other_pass_ids)) if other_pass_ids else {}
    for index, event_id in original_ids.items():
        original = stored.get(event_id)
        if original is not None and original.event is None:
            removed = "The event to correct was removed and does not count; record a new event instead."
            problems[index] = (Problem(Code.EVENT_REMOVED, removed, (FIELD,)),)
            continue
        is_same_pass = event_id in pass_of_original and _is_same_pass(
            pass_of_original[event_id], pass_ids[index], survivors
        )
        try:
            counted[index] = apply_correction(
                drafts[index], original.event if original is not None and is_same_pass else None
            )
        except Refused as refused:
            problems[index] = refused.problems
    return counted, problems


def _is_same_pass(pass_id: str, other_id: str | None, survivors: Mapping[str, str]) -> bool:
    """Return whether both ids now belong to one pass."""
    survivor = survivors.get(pass_id)
    return pass_id == other_id or (
        survivor is not None and other_id is not None and survivor == survivors.get(other_id)
    )
