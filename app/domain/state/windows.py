"""Rolling windows of measures: a running value, and the next instants at which events leave the window."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from .numbers import Weight, add_numbers, subtract_numbers

MAX_EXPIRING = 100
"""Instants that a window lists. The worker reads the next ones from the events when the list runs out."""


@dataclass(frozen=True, slots=True)
class Window:
    """Running value of a window, and the next events to leave it.

    `instants` are the events' own instants in ms, ascending. `weights` are the sums of the events of each instant.
    `has_more` is true if more events follow in the window after the last instant listed.
    """

    value: Weight
    instants: tuple[int, ...]
    weights: tuple[Weight, ...]
    has_more: bool = False


def insert_expiring(state: Window, at: int, weight: Weight) -> Window:
    """Return the window with one more event, which has not left it. Events that have left it are not listed."""
    value, instants, weights = add_numbers(state.value, weight), state.instants, state.weights
    if state.has_more and (not instants or at > instants[-1]):
        return Window(value, instants, weights, has_more=True)
    index = bisect_left(instants, at)
    if index < len(instants) and instants[index] == at:
        total = add_numbers(weights[index], weight)
        weights = (*weights[:index], total, *weights[index + 1 :])
        return Window(value, instants, weights, has_more=state.has_more)
    instants = (*instants[:index], at, *instants[index:])
    weights = (*weights[:index], weight, *weights[index:])
    if len(instants) > MAX_EXPIRING:
        return Window(value, instants[:MAX_EXPIRING], weights[:MAX_EXPIRING], has_more=True)
    return Window(value, instants, weights, has_more=state.has_more)


def build_window(pairs: Sequence[tuple[int, Weight]]) -> Window | None:
    """Return the window of all events in it, from their (ms, weight) in ascending order; None for no events."""
    if not pairs:
        return None
    value = pairs[0][1]
    for _, weight in pairs[1:]:
        value = add_numbers(value, weight)
    listed = pairs[:MAX_EXPIRING]
    return Window(
        value,
        tuple(at for at, _ in listed),
        tuple(weight for _, weight in listed),
        has_more=len(pairs) > MAX_EXPIRING,
    )


def expire_window(state: Window, start_ms: int) -> Window:
    """Return the window without the events that occurred at or before `start_ms`.

    The list of instants must reach `start_ms`, unless `has_more` is false.
    """
    expired_count = bisect_right(state.instants, start_ms)
    if not expired_count:
        return state
    value = state.value
    for weight in state.weights[:expired_count]:
        value = subtract_numbers(value, weight)
    return Window(value, state.instants[expired_count:], state.weights[expired_count:], has_more=state.has_more)


def refill_window(state: Window, pairs: Sequence[tuple[int, Weight]], has_more: bool) -> Window:
    """Return the window with more (ms, weight) pairs at the end of its list, in ascending order. The value stays."""
    instants = (*state.instants, *(at for at, _ in pairs))
    return Window(state.value, instants, (*state.weights, *(weight for _, weight in pairs)), has_more=has_more)
