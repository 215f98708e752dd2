"""addToSegment and removeFromSegment: internal events that put passes on the lists of a segment, or take them off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.domain.errors import Code, Conflict, InvalidInput, NotFound, Problem, Refused
from app.domain.events.events import LIST_ADDED, LIST_REMOVED
from app.domain.events.own_events import own_event
from app.domain.passes.lists import EXCLUDE, list_metadata
from app.domain.segments.criteria import ListCriterion
from app.domain.values.text import parse_external_id
from app.store.mongo.ids import ordered_id

MAX_LISTED_PASSES = 1_000
"""Passes that one call puts on a list of a segment, or takes off it."""


@dataclass(frozen=True, slots=True)
class ListResult:
    """Result for one pass: its id, or the problem with the name that the client sent."""

    pass_id: str | None = None
    problem: Problem | None = None


async def change_list(
    ctx: Context,
    segment_id: str,
    pass_ids: Sequence[str | None],
    external_ids: Sequence[str],
    list_name: str,
    *,
    adds: bool,
) -> list[ListResult]:
    """Record the change for each pass, and return a result for each: first of `pass_ids`, then of `external_ids`.

    None among `pass_ids` stands for an id of another kind. Safe to repeat: a pass that is on the list stays on it. Raises
    NotFound for the segment, Conflict if it is archived, InvalidInput and Unavailable.
    """
    if not 0 < len(pass_ids) + len(external_ids) <= MAX_LISTED_PASSES:
        message = f"Name 1 to {MAX_LISTED_PASSES:,} passes with `passIds` and `passExternalIds`."
        raise InvalidInput(Code.TOO_MANY if pass_ids or external_ids else Code.REQUIRED, message, "passIds")
    await find_listable_segment(ctx, segment_id, list_name)
    results = await find_listed_passes(ctx, pass_ids, external_ids)
    found = list(dict.fromkeys(each.pass_id for each in results if each.pass_id is not None))
    if found:
        action = "addToSegment" if adds else "removeFromSegment"
        await record_audit_entry(ctx, action, "Segment", segment_id, list=list_name, passes=str(len(found)))
        await _record(ctx, found, LIST_ADDED if adds else LIST_REMOVED, list_metadata(segment_id, list_name))
    return results


async def find_listable_segment(ctx: Context, segment_id: str, list_name: str) -> None:
    """Check that passes may be put on a list of a segment. Raises NotFound, Conflict, InvalidInput and Unavailable."""
    segment = await ctx.workspace.segments.get(segment_id)
    if segment is None:
        raise NotFound("segment", "segmentId")
    if segment.archived:
        raise Conflict("This segment is archived, so it has no members.", "segmentId")
    if list_name == EXCLUDE and isinstance(segment.criteria, ListCriterion):
        message = "The members of this segment are those of its list INCLUDE alone. Take passes off that list."
        raise InvalidInput(Code.INVALID, message, "list")


async def find_listed_passes(
    ctx: Context, pass_ids: Sequence[str | None], external_ids: Sequence[str]
) -> list[ListResult]:
    """Return a result for each name: first of `pass_ids`, then of `external_ids`. Merged passes give their survivors."""
    survivors = await ctx.workspace.passes.existing([each for each in pass_ids if each is not None])
    names, problems = _parse_names(external_ids)
    named = await ctx.workspace.passes.ids_of(list(dict.fromkeys(names.values())))
    found = [None if each is None else survivors.get(each) for each in pass_ids]
    results = [_result(each, "passIds", index) for index, each in enumerate(found)]
    for index in range(len(external_ids)):
        if index in problems:
            results.append(ListResult(problem=problems[index]))
        else:
            results.append(_result(named.get(names[index]), "passExternalIds", index))
    return results


def _parse_names(external_ids: Sequence[str]) -> tuple[dict[int, str], dict[int, Problem]]:
    """Return the external ids that are valid, and the problems of the others, by their indexes."""
    names: dict[int, str] = {}
    problems: dict[int, Problem] = {}
    for index, raw in enumerate(external_ids):
        try:
            names[index] = parse_external_id(raw, "passExternalIds", str(index))
        except Refused as refused:
            problems[index] = refused.problems[0]
    return names, problems


def _result(pass_id: str | None, name: str, index: int) -> ListResult:
    if pass_id is not None:
        return ListResult(pass_id)
    return ListResult(problem=Problem(Code.UNKNOWN, "No such pass in this workspace.", (name, str(index))))


async def _record(ctx: Context, pass_ids: Sequence[str], kind: str, metadata: dict[str, object]) -> None:
    now = await ctx.now()
    events = [
        own_event(ordered_id("event"), pass_id, kind, at=now, origin=ctx.origin, metadata=metadata)
        for pass_id in pass_ids
    ]
    await ctx.workspace.events.insert([(event, b"") for event in events])
    ctx.resources.wake_fold(ctx.workspace.id, pass_ids)
