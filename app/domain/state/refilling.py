"""Lists of windows that run out: when the worker must read the next events, which ones, and what it does with them."""

from __future__ import annotations

from collections.abc import Sequence

from .expiring import Expiring, decimal_pairs
from .extremes import Extremes, fill_gap
from .measures import Measure, State
from .windows import MAX_EXPIRING, Window, refill_window


def is_exhausted(state: State | None) -> bool:
    """Return whether the state does not tell what follows when its next event leaves the window."""
    if isinstance(state, Window):
        return state.has_more and not state.instants
    return isinstance(state, Extremes) and state.gaps[0]


def exhausted_from_ms(measure: Measure, state: State | None) -> int | None:
    """Return the instant from which the state is exhausted by time alone; None if it is already, or never will be."""
    if measure.within_ms is None:
        return None
    if isinstance(state, Window) and state.has_more and state.instants:
        return state.instants[-1] + measure.within_ms
    if isinstance(state, Extremes) and state.first_gap:
        return state.instants[state.first_gap - 1] + measure.within_ms
    return None


def page_start_ms(measure: Measure, state: State | None, at_ms: int, horizon_ms: int) -> int | None:
    """Return the instant after which events must be read for a walk until `horizon_ms`; None if none need be.

    The pass was evaluated until `at_ms`.
    """
    if measure.within_ms is None:
        return None
    from_ms = exhausted_from_ms(measure, state)
    if not is_exhausted(state) and (from_ms is None or from_ms > horizon_ms):
        return None
    if isinstance(state, Extremes):
        return state.instants[state.first_gap or 0]
    return state.instants[-1] if isinstance(state, Window) and state.instants else at_ms - measure.within_ms


def page_end_ms(state: State | None, after_ms: int) -> int | None:
    """Return the instant before which all events must be read; None if the next 100 instants suffice."""
    return state.instants[state.instants.index(after_ms) + 1] if isinstance(state, Extremes) else None


def cut_page(pairs: Sequence[Expiring], end_ms: int | None) -> tuple[Sequence[Expiring], bool]:
    """Return the pairs of a page, of those from its start on, and whether more follow."""
    if end_ms is not None:
        return [pair for pair in pairs if pair[0] < end_ms], False
    return pairs[:MAX_EXPIRING], len(pairs) > MAX_EXPIRING


def refill(state: State, after_ms: int, pairs: Sequence[Expiring], *, has_more: bool) -> State:
    """Return the state with a page that was read after an instant."""
    if isinstance(state, Window):
        return refill_window(state, pairs[:MAX_EXPIRING], has_more) if state.has_more else state
    return fill_gap(state, after_ms, decimal_pairs(pairs)) if isinstance(state, Extremes) else state


def has_lost_value(measure: Measure, state: State | None, now_ms: int) -> bool:
    """Return whether the state of a pass that was evaluated earlier does not tell its value now, without reading events."""
    if measure.within_ms is None or not (isinstance(state, Extremes) or (isinstance(state, Window) and state.has_more)):
        return False
    if isinstance(state, Extremes):
        gap = state.first_gap
        return gap is not None and state.instants[gap] + measure.within_ms <= now_ms
    return not state.instants or state.instants[-1] + measure.within_ms <= now_ms
