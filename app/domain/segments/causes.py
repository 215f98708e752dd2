"""Causes of transitions, and the values that their criteria measured before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from app.domain.activities import CauseKind
from app.domain.events.events import Event
from app.domain.passes.lists import changes_list
from app.domain.passes.profiles import FIELD_EVENTS
from app.domain.state.measures import add_event

from .criteria import Criteria, MeasuredCriterion, iter_leaves
from .evaluation import EvaluationContext, Value, evaluate, measured_value
from .segments import DefinitionChange

MAX_VALUES = 6
"""Measured values of an outbox entry. The limit keeps the entry under 300 bytes."""


@dataclass(frozen=True, slots=True)
class Step:
    """Changes of a pass at one instant of a walk, to be evaluated together.

    - `before`: context before the step.
    - `events`: events that counted.
    - `version`: definition that came into force, of a segment or of the tier program.
    - `removed`: events that tombstones removed.
    - `aged_points`: balance after points expired by time alone; None if none expired.
    - `ended_tier`: the key of the tier, or None, after a period of a tier ended by time alone. `has_ended_tier` says so.
    - `is_creation`, `is_erasure`, `is_merge`: the pass was created, erased, or merged into another pass.
    """

    at_ms: int
    before: EvaluationContext
    events: Sequence[Event] = ()
    version: DefinitionChange | None = None
    is_creation: bool = False
    removed: Sequence[Event] = ()
    aged_points: Decimal | None = None
    ended_tier: str | None = None
    has_ended_tier: bool = False
    is_erasure: bool = False
    is_merge: bool = False

    @property
    def is_corrected(self) -> bool:
        """Whether a correction counted, or a removal."""
        return bool(self.removed) or any(event.correction_of is not None for event in self.events)


def find_cause(
    criteria: Criteria,
    is_member: bool,
    step: Step,
    after: EvaluationContext,
    *,
    criteria_before: Criteria | None = None,
) -> tuple[dict[str, object], Event | None]:
    """Return the cause of a transition as stored, and the event that caused it, if one did.

    `criteria` are those of the segment, or those that decided about a tier. `is_member` is their result after the step.
    If time alone would have changed the result at this instant, the cause is TIME, even if events counted, too.
    `criteria_before` are the same in the zone that the pass had before the step; None if no event changes the zone.
    """
    before = criteria if criteria_before is None else criteria_before
    version = step.version
    if version is not None:
        kind = CauseKind.BACKFILL if version.version == 1 and version.is_in_force else CauseKind.DEFINITION_CHANGED
        return {"kind": kind.value, "version": version.version}, None
    if step.is_erasure:
        return {"kind": CauseKind.EVENT_REMOVED.value}, None
    if step.is_merge:
        return {"kind": CauseKind.PASS_MERGED.value}, None
    if not (step.events or step.removed) or evaluate(before, _time_only_context(step)) == is_member:
        return {"kind": (CauseKind.PASS_CREATED if step.is_creation else CauseKind.TIME).value}, None
    if step.removed:
        event_id = _find_removed_event(criteria, step.removed).id
        return {"kind": CauseKind.EVENT_REMOVED.value, "event": event_id}, None
    event = _find_zone_event(step) if before != criteria else None
    event = event or _find_deciding_event(criteria, is_member, step, after)
    return {"kind": CauseKind.EVENT.value, "event": event.id}, event


def find_list_cause(
    segment_id: str, step: Step, after: EvaluationContext
) -> tuple[dict[str, object], Event | None] | None:
    """Return the cause of a transition that a change of the segment's lists made, and its event.

    None if the lists did not change.
    """
    if step.before.profile.lists.get(segment_id) == after.profile.lists.get(segment_id):
        return None
    removed = [event for event in step.removed if changes_list(event, segment_id)]
    if removed:
        return {"kind": CauseKind.EVENT_REMOVED.value, "event": removed[-1].id}, None
    event = next((event for event in reversed(step.events) if changes_list(event, segment_id)), None)
    if event is None:
        return None
    kind = CauseKind.EVENT if event.is_made else CauseKind.MANUAL
    return {"kind": kind.value, "event": event.id}, event


def _time_only_context(step: Step) -> EvaluationContext:
    """Return the context after the step as if only time had passed."""
    points = step.before.points if step.aged_points is None else step.aged_points
    tier = step.ended_tier if step.has_ended_tier else step.before.tier
    return replace(step.before, at_ms=step.at_ms, points=points, tier=tier)


def collect_values(criteria: Criteria, context: EvaluationContext) -> tuple[Value, ...]:
    """Return the measured values of the leaves of criteria, from left to right, at most MAX_VALUES."""
    return tuple(measured_value(leaf, context) for leaf in list(iter_leaves(criteria))[:MAX_VALUES])


def _find_removed_event(criteria: Criteria, removed: Sequence[Event]) -> Event:
    """Return the last removed event that the criteria had counted; if none, the last removed event."""
    measures = [leaf.measure for leaf in iter_leaves(criteria) if isinstance(leaf, MeasuredCriterion)]
    relevant = [event for event in removed if any(measure.matches(event) for measure in measures)]
    return (relevant or removed)[-1]


def _find_zone_event(step: Step) -> Event | None:
    """Return the event of a step that gave the pass another zone: the last one that changed the profile."""
    # What the step measured before is by the old zone, so it does not tell which event decided by the new one.
    return next((event for event in reversed(step.events) if event.type in FIELD_EVENTS), None)


def _find_deciding_event(criteria: Criteria, is_member: bool, step: Step, after: EvaluationContext) -> Event:
    """Return the first event of the step after which the result is `is_member`; if none, the last relevant event."""
    states, deciding = dict(step.before.states), step.events[-1]
    event_criteria = [leaf for leaf in iter_leaves(criteria) if isinstance(leaf, MeasuredCriterion)]
    measures = {leaf.measure.key: leaf.measure for leaf in event_criteria}
    for event in step.events:
        matching = {key: measure for key, measure in measures.items() if measure.matches(event)}
        if not matching:
            continue
        deciding = event
        for key, measure in matching.items():
            state = add_event(measure, states.get(key), event, step.at_ms)
            if state is not None:
                states[key] = state
        if evaluate(criteria, replace(after, states=states)) == is_member:
            break
    return deciding
