"""Outlook: when a membership changes if nothing happens, found by walking a copy of the pass without events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from app.domain.definitions import Definitions
from app.domain.fold.copies import CopyWalk, TooMuchToRead, has_moved, walk_step
from app.domain.passes.passes import Pass
from app.domain.rules.texts import Texts
from app.domain.segments.criteria import Criteria
from app.domain.segments.evaluation import context_of
from app.domain.values.instants import DAY_MS

from .trees import Part, explain, results_of

MAX_OUTLOOK_INSTANTS = 200
"""Instants of change that an outlook visits."""
MAX_OUTLOOK_DAYS = 1_826
"""Days that an outlook looks ahead: 5 years."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """When a membership changes if nothing happens. `instants` were visited to find it.

    Either `until_ms` is that instant, or the membership does not change up to `stable_until_ms`. `parts_ms` has the first
    change of each part of the criteria up to there, in the order of `iter_parts`.
    """

    until_ms: int | None
    stable_until_ms: int | None
    parts_ms: tuple[int | None, ...]
    instants: int


def look_ahead(
    card: Pass, definitions: Definitions, segment_id: str, criteria: Criteria, at_ms: int, *, texts: Texts
) -> CopyWalk[Outlook]:
    """Return when the membership of a pass that was walked to `at_ms` changes, with all definitions and rules.

    The walk ends after 200 instants, 5 years ahead, or where it must read more than the caller reads.
    """
    is_member, first = segment_id in card.memberships, results_of(criteria, context_of(card, at_ms))
    parts_ms: list[int | None] = [None] * len(first)
    end_ms = at_ms + MAX_OUTLOOK_DAYS * DAY_MS
    instants = 0
    while instants < MAX_OUTLOOK_INSTANTS:
        due_ms = card.next_due_ms
        if due_ms is None or due_ms > end_ms:
            return Outlook(None, end_ms, tuple(parts_ms), instants=instants)
        try:
            after = yield from walk_step(card, definitions, max(due_ms, card.evaluated_until_ms), texts)
        except TooMuchToRead:
            break
        if not has_moved(card, after):
            break
        card, instants = after, instants + 1
        now_ms = max(card.evaluated_until_ms, at_ms)
        for index, holds in enumerate(results_of(criteria, context_of(card, now_ms))):
            if holds != first[index] and parts_ms[index] is None:
                parts_ms[index] = now_ms
        if (segment_id in card.memberships) != is_member:
            return Outlook(now_ms, None, tuple(parts_ms), instants=instants)
    # Nothing changes before the instant that the walk did not reach.
    reached_ms = end_ms if card.next_due_ms is None else min(card.next_due_ms - 1, end_ms)
    return Outlook(None, max(reached_ms, at_ms), tuple(parts_ms), instants=instants)


def explain_with_outlook(criteria: Criteria, card: Pass, at_ms: int, outlook: Outlook) -> Part:
    """Return the explanation of criteria, with the instants at which the results change."""
    instants = iter(outlook.parts_ms)
    return _with_instants(explain(criteria, context_of(card, at_ms)), instants)


def _with_instants(part: Part, instants: Iterator[int | None]) -> Part:
    until_ms = next(instants)
    return replace(part, until_ms=until_ms, children=tuple(_with_instants(each, instants) for each in part.children))
