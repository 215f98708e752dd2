"""Transitions of a walk: the activity of each entry into a segment and of each exit, with its cause and measured values."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from app.domain.activities import ENTERED, LEFT, CauseKind
from app.domain.passes.passes import Membership
from app.domain.rules.occurrences import Transition
from app.domain.segments.causes import Step, collect_values, find_cause, find_list_cause
from app.domain.segments.segments import Version

from .tiers import LATE_CAUSES

if TYPE_CHECKING:
    from .walk import Walk


def emit_transition(walk: Walk, evaluated: Version, ended: Membership | None, step: Step) -> Transition:
    """Add the activity of an entry or an exit to the walk, and return the transition.

    `ended` is the membership that has ended; None for an entry, whose membership the walk has already.
    """
    at_ms, context, version, is_member = step.at_ms, walk.context(step.at_ms), step.version, ended is None
    version_before = walk.versions_before.get(evaluated.segment_id)
    cause, event = find_list_cause(evaluated.segment_id, step, context) or find_cause(
        evaluated.criteria, is_member, step, context,
        criteria_before=None if version_before is None else version_before.criteria,
    )  # fmt: skip
    if is_member:
        entered = walk.members[evaluated.segment_id]
        walk.members[evaluated.segment_id] = replace(entered, cause=cause, number=walk.new_entries.last_number + 1)
    # The values before: without the events of this instant, or 1 ms earlier if time alone caused the transition.
    before = replace(step.before, at_ms=at_ms - 1) if cause["kind"] == CauseKind.TIME.value else step.before
    if not evaluated.is_in_force:
        # Measures that nothing uses any more are gone, and what they measured did not change.
        context = replace(context, states=step.before.states)
    refs = {
        "segment": evaluated.segment_id,
        "version": evaluated.version,
        # The activities of an erased pass hold no measured values, because they may be personal.
        "before": () if version_before is None or step.is_erasure else collect_values(version_before.criteria, before),
        "after": () if step.is_erasure else collect_values(evaluated.criteria, context),
        **({"entered": ended.number} if ended is not None and ended.number else {}),
    }
    is_creation = cause["kind"] == CauseKind.PASS_CREATED.value
    is_historical = walk.card.historical if is_creation else event is not None and event.historical
    number = walk.new_entries.add(
        ENTERED if is_member else LEFT, at_ms, cause, refs,
        late=cause["kind"] in LATE_CAUSES or (event is not None and event.occurred_ms < at_ms),
        silent=version is not None and version.is_silent,
        historical=is_historical,
    )  # fmt: skip
    return Transition(
        evaluated.segment_id, is_member, number, kind=str(cause["kind"]), event=event, historical=is_historical
    )
