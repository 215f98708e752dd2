"""What a walk has to read first, said by pure code so that the fold can ask for it in one go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.events.events import Event
from app.domain.passes.passes import Pass
from app.domain.passes.profiles import FIELD_EVENTS
from app.domain.segments.segments import Definitions
from app.domain.state.measures import Measure, Number, Window
from app.domain.state.points import wants_history


@dataclass(frozen=True, slots=True)
class Refill:
    """What leaves a window next: (ms, weight) ascending, whether more follow; `after_ms` says from where it was read."""

    after_ms: int
    leavers: Sequence[tuple[int, Number]]
    more: bool


@dataclass(frozen=True, slots=True)
class Needs:
    """What a walk has to read first: the whole history of the pass, and for some windows what leaves them next."""

    history: bool = False
    refills: Mapping[str, tuple[Measure, int]] = field(default_factory=dict)


def effective_ms(event: Event, at_ms: int) -> int:
    """When an event counts, for a pass judged until `at_ms`: when it occurred, or when recorded if that is over."""
    occurred = event.occurred_ms
    if event.historical or occurred <= at_ms:
        return max(event.recorded_ms, at_ms, occurred)
    return occurred


def needs(card: Pass, definitions: Definitions, events: Sequence[Event], limit_ms: int) -> Needs:
    """What `advance` must be given for this pass."""
    history = any(e.removes is not None or (e.type in FIELD_EVENTS and e.occurred_ms <= card.at_ms) for e in events)
    if not history and card.aggregates:
        history = wants_history(card.lots, events, card.at_ms)
        known = definitions.active(card.rev).keys
        for version in definitions.after(card.rev):
            for measure in definitions.active(version.rev).measures:
                if measure.key not in known and not measure.plain and _may_match(measure, card):
                    history = True
            # What one revision dropped and a later one asks for again is built anew.
            known = definitions.active(version.rev).keys
    horizon = max([limit_ms, *(effective_ms(event, card.at_ms) for event in events)])
    refills = {}
    for measure in definitions.active(card.rev).measures:
        state = card.state.get(measure.key)
        if measure.within_ms is None or not isinstance(state, Window) or not state.more:
            continue
        if not state.instants or state.instants[-1] + measure.within_ms <= horizon:
            after = state.instants[-1] if state.instants else card.at_ms - measure.within_ms
            refills[measure.key] = (measure, after)
    return Needs(history, refills)


def _may_match(measure: Measure, card: Pass) -> bool:
    return any(measure.filter.may_match(kind, row.category, cur) for (kind, cur), row in card.aggregates.items())
