"""What a walk has to read first, said by pure code so that the fold can ask for it in one go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.events.events import Event
from app.domain.passes.passes import Pass
from app.domain.passes.profiles import FIELD_EVENTS
from app.domain.segments.segments import Definitions
from app.domain.state.measures import Measure, Number, Window
from app.domain.state.points import needs_history


@dataclass(frozen=True, slots=True)
class WindowPage:
    """What leaves a window next: (ms, weight) ascending, whether more follow; `after_ms` says from where it was read."""

    after_ms: int
    expiring: Sequence[tuple[int, Number]]
    has_more: bool


@dataclass(frozen=True, slots=True)
class Prefetch:
    """What a walk has to read first: the whole history of the pass, and for some windows what leaves them next."""

    history: bool = False
    windows: Mapping[str, tuple[Measure, int]] = field(default_factory=dict)


def effective_ms(event: Event, at_ms: int) -> int:
    """When an event counts, for a pass judged until `at_ms`: when it occurred, or when recorded if that is over."""
    occurred = event.occurred_ms
    if event.historical or occurred <= at_ms:
        return max(event.recorded_ms, at_ms, occurred)
    return occurred


def find_prefetch(card: Pass, definitions: Definitions, events: Sequence[Event], limit_ms: int) -> Prefetch:
    """What `advance` must be given for this pass."""
    history = any(
        e.removes is not None or (e.type in FIELD_EVENTS and e.occurred_ms <= card.evaluated_until_ms) for e in events
    )
    if not history and card.aggregates:
        history = needs_history(card.lots, events, card.evaluated_until_ms)
        known = definitions.active(card.revision).measure_keys
        for version in definitions.after(card.revision):
            for measure in definitions.active(version.revision).measures:
                if measure.key not in known and not measure.plain and _may_match(measure, card):
                    history = True
            # What one revision dropped and a later one asks for again is built anew.
            known = definitions.active(version.revision).measure_keys
    horizon = max([limit_ms, *(effective_ms(event, card.evaluated_until_ms) for event in events)])
    windows = {}
    for measure in definitions.active(card.revision).measures:
        state = card.measures.get(measure.key)
        if measure.within_ms is None or not isinstance(state, Window) or not state.has_more:
            continue
        if not state.instants or state.instants[-1] + measure.within_ms <= horizon:
            after = state.instants[-1] if state.instants else card.evaluated_until_ms - measure.within_ms
            windows[measure.key] = (measure, after)
    return Prefetch(history, windows)


def _may_match(measure: Measure, card: Pass) -> bool:
    return any(measure.filter.may_match(kind, row.category, cur) for (kind, cur), row in card.aggregates.items())
