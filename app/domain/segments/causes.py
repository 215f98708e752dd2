"""Why a membership flipped, and what was measured before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from app.domain.activities import CauseKind
from app.domain.events.events import Event
from app.domain.state.measures import add_event

from .criteria import EventCriterion, leaves
from .evaluation import EvaluationContext, Value, evaluate, measured_value
from .segments import Version

MAX_VALUES = 6
"""Measured values an entry carries, at most: an entry of the outbox stays under 300 bytes."""


@dataclass(frozen=True, slots=True)
class Step:
    """What happened at one instant of a walk: the frame before it, and the events applied, or those removed, or the
    definition that changed; `erased` and `merged` say that the pass itself goes, `aged_points` what time alone left of
    the balance, where it took some."""

    at_ms: int
    before: EvaluationContext
    events: Sequence[Event] = ()
    version: Version | None = None
    created: bool = False
    removed: Sequence[Event] = ()
    aged_points: Decimal | None = None
    erased: bool = False
    merged: bool = False


def find_cause(
    judged: Version, member: bool, moment: Step, after: EvaluationContext
) -> tuple[dict[str, object], Event | None]:
    """The cause of a flip as it is stored, and the event that tipped it where one did.

    Where time alone would have flipped it at this instant, the cause is TIME, whatever else happened.
    """
    version = moment.version
    if version is not None:
        kind = CauseKind.BACKFILL if version.version == 1 and not version.archived else CauseKind.DEFINITION_CHANGED
        return {"kind": kind.value, "version": version.version}, None
    if moment.erased:
        return {"kind": CauseKind.EVENT_REMOVED.value}, None
    if moment.merged:
        return {"kind": CauseKind.PASS_MERGED.value}, None
    if not (moment.events or moment.removed) or evaluate(judged.criteria, _aged(moment)) == member:
        return {"kind": (CauseKind.PASS_CREATED if moment.created else CauseKind.TIME).value}, None
    if moment.removed:
        return {"kind": CauseKind.EVENT_REMOVED.value, "event": _missed(judged, moment.removed).id}, None
    event = _tipping(judged, member, moment, after)
    return {"kind": CauseKind.EVENT.value, "event": event.id}, event


def _aged(moment: Step) -> EvaluationContext:
    """The frame of the moment if nothing had happened but time."""
    points = moment.before.points if moment.aged_points is None else moment.aged_points
    return replace(moment.before, at_ms=moment.at_ms, points=points)


def collect_values(judged: Version, frame: EvaluationContext) -> tuple[Value, ...]:
    """The measured values of the leaves of a definition, from left to right."""
    return tuple(measured_value(leaf, frame) for leaf in list(leaves(judged.criteria))[:MAX_VALUES])


def _missed(judged: Version, removed: Sequence[Event]) -> Event:
    """The last of the removed events that the criteria had looked at; else the last one."""
    filters = [leaf.measure.filter for leaf in leaves(judged.criteria) if isinstance(leaf, EventCriterion)]
    examined = [event for event in removed if any(f.matches(event) for f in filters)]
    return (examined or removed)[-1]


def _tipping(judged: Version, member: bool, moment: Step, after: EvaluationContext) -> Event:
    """The first event of the instant after which the verdict is what it became; else the last one that counts."""
    states, tipping = dict(moment.before.states), moment.events[-1]
    timed = [leaf for leaf in leaves(judged.criteria) if isinstance(leaf, EventCriterion)]
    measures = {leaf.measure.key: leaf.measure for leaf in timed}
    for event in moment.events:
        counting = {key: measure for key, measure in measures.items() if measure.filter.matches(event)}
        if not counting:
            continue
        tipping = event
        for key, measure in counting.items():
            state = add_event(measure, states.get(key), event, moment.at_ms)
            if state is not None:
                states[key] = state
        if evaluate(judged.criteria, replace(after, states=states)) == member:
            break
    return tipping
